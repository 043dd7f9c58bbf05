use strict; use warnings; use Data::Dumper; use List::Util qw(sum shuffle first); use POSIX qw(floor); $Data::Dumper::Sortkeys=1;
my %h; my $seed = 42; sub rnd { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; $seed }
for (1..40000) { my $k = sprintf "%x", rnd() % 5000; $h{$k}{n}++; push @{$h{$k}{l}}, $_ if @{$h{$k}{l} // []} < 3; }
my @s = sort { $h{$b}{n} <=> $h{$a}{n} || $a cmp $b } keys %h; print "$_ $h{$_}{n} @{$h{$_}{l}}\n" for @s[0..50];
my $t = join " ", map { "w$_" . ("x" x ($_ % 7)) } 1..3000; my $c = 0; while ($t =~ /(\w+?)(x{2,5})(?=\s|$)/g) { $c += length $2; } print "$c\n";
$t =~ s/(w\d+)/<$1>/g; print length $t, "\n"; print Dumper([ map { [ split // ] } qw(abc def) ]), eval { die { code => 5 } } // "died $@->{code}\n";
print join(",", map { sprintf "%.3f", sin $_ / 3 } 1..20), "\n"; my $str = pack("NnCa*", 1, 2, 3, "hello"); print unpack("H*", $str), "\n";
local $SIG{ALRM} = sub { print "alarm\n" }; kill ALRM => $$; print sum(map { floor($_ / 3) } 1..100), "\n"; printf "%s\n", scalar reverse "abc"; open my $f, "<", $0; my @l = <$f>; print scalar(@l), "\n"; eval "sub f { \$_[0] < 2 ? 1 : f(\$_[0]-1) + f(\$_[0]-2) } print f(20), qq{\n}"; 
