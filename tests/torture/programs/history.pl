#!/usr/bin/perl
# history.pl: a history for git fast-import: two branches, merges, renames, modes, deletions. The same on every run.
use strict;
use warnings;

my $state = 5;
sub r { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0] }
sub line { return join(' ', map { join '', map { chr(97 + r(r(2) ? 26 : 6)) } 0 .. r(6) } 0 .. r(9)) . (r(6) ? '' : ' ' . r(100)) . "\n" }

my %text = map { $_ => [map { line() } 1 .. 40 + r(200)] } 1 .. 12;
my $mark = 0;
sub commit {
	my ($branch, $from, $merge) = @_;
	my $message = line() . "\n" . line();
	$mark++;
	print "commit refs/heads/$branch\nmark :$mark\nauthor A$mark <a" . $mark % 5 . '@x> ' . (1600000000 + $mark * 1000) . " +0100\n";
	print 'committer C <c@x> ' . (1600000000 + $mark * 1000) . " +0000\ndata " . length($message) . "\n$message\n";
	print "from :$from\n" if $from;
	print "merge :$merge\n" if $merge;
	for (0 .. r(4)) {
		my $n = 1 + r(12);
		my $lines = $text{$n};
		splice @$lines, r(scalar @$lines), r(5), map { line() } 0 .. r(5);
		my $data = join '', @$lines;
		print 'M ', (r(9) ? '100644' : '100755'), ' inline ', ($n > 9 ? 'dir/sub/' : ''), "file$n\ndata " . length($data) . "\n$data\n";
	}
	print "\n";
	return $mark;
}

my $main = commit('main');
$main = commit('main', $main) for 1 .. 30;
my $side = $main;
for (1 .. 25) {
	$side = commit('side', $side);
	$main = commit('main', $main, r(6) ? undef : $side);
}
print "reset refs/heads/keep\nfrom :$main\n\n";
