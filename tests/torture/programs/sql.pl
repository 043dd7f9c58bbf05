#!/usr/bin/perl
# sql.pl DIRECTORY: scripts for sqlite3, the same on every run.
use strict;
use warnings;

my $directory = shift;
my $state = 42;
sub r { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0] }
sub pick { return $_[r(scalar @_)] }
sub word { return join '', map { chr(97 + r(26)) } 0 .. 1 + r(7) }

sub script {
	my ($name, @lines) = @_;
	open my $out, '>', "$directory/$name.sql" or die "$name: $!";
	print $out "$_\n" for @lines;
	close $out;
}

sub term {
	my $depth = shift;
	return pick('a', 'b', 'c', 'x', 'abs(a)', 'length(b)', r(1000), "'" . word() . "'", 'NULL', r(100) / 7) if $depth <= 0;
	my ($x, $y) = (term($depth - 1), term($depth - 1));
	return pick("($x+$y)", "($x-$y)", "($x*$y)", "($x||$y)", "($x%$y)", "coalesce($x,$y)", "max($x,$y)", "($x is $y)", "($x<$y)",
		"(case when $x>$y then $x else $y end)", "substr($x,1+abs($y)%9,3)", "round($x,2)", "cast($x as text)", "typeof($x)", "hex($x)",
		"replace($x,'1',$y)", "instr($x,$y)", "nullif($x,$y)", "($x in (1,2,$y))", "($x between 0 and $y)", "printf('%08.3f|%s|%x',$x,$y,$x)",
		"quote($x)", "upper($x)", "trim($y,'abc')", "($x like '%a%')", "($x glob '*[a-f]*')", "unicode(quote($y))", "($x & 255)", "($x << 2)");
}

script('00-make', 'create table t(a integer primary key, b text, c real, x);', 'create table u(k int, v text, d blob);',
	'create index ub on u(k, v); create index tb on t(b collate nocase); create index tp on t(c) where c > 50;',
	'create view w as select a, b, k, v from t join u on t.a = u.k;',
	'create trigger g after update on t begin update u set v = v || old.b where k = new.a; end;', 'begin;',
	(map { sprintf "insert into t values(%d,'%s',%s,%s);", $_, word(), r(10000) / 97, pick('NULL', r(50), "x'" . sprintf('%08x', r(1 << 30)) . "'") } 1 .. 1500),
	(map { sprintf "insert into u values(%d,'%s',zeroblob(%d));", r(1500), word(), r(20) } 1 .. 2000), 'commit;', 'analyze;');
for my $n (1 .. 8) {
	script(sprintf('%02d-queries', $n), map {
		pick(
			'select ' . term(3) . ' as z, ' . term(2) . ' from t where a % ' . (1 + r(40)) . " = 0 order by 1, a limit 20;",
			'select ' . term(2) . ', count(*), sum(a), avg(c), group_concat(b) from t where a < ' . r(900) . ' group by ' . term(1) . ' having count(*) > 1 order by 1, 2, 3 limit 15;',
			'select t.a, u.v, ' . term(2) . ' from t join u on t.a = u.k where u.v > \'' . word() . "' order by t.a, u.rowid limit 20;",
			'select a, b, sum(c) over (partition by a % ' . (1 + r(9)) . ' order by a rows between 3 preceding and 1 following), rank() over (order by x), lag(b, 2, \'none\') over (order by a) from t where a < ' . r(300) . ';',
			'with recursive n(i) as (select 1 union all select i * 3 % 1009 from n limit ' . (5 + r(300)) . ') select count(*), sum(i), max(i) from n left join t on a = i;',
			'select b from t where a in (select k from u where ' . term(2) . ') except select v from u union select b from t where a < 10 order by 1 limit 30;',
			'select exists(select 1 from w where k = ' . r(1500) . '), (select max(v) from u where k > ' . r(1400) . '), ' . (r(2) ? 'count(distinct v)' : 'total(k)') . ' from u;',
			'update t set b = b || \'' . word() . '\', c = c + 1 where a % ' . (50 + r(99)) . ' = 3;',
			'delete from u where k = ' . r(1500) . '; select changes(), total_changes();',
			'savepoint s; insert or replace into t select a, upper(b), c * 2, x from t where a < ' . r(30) . '; rollback to s; release s;',
			'select date(' . r(1 << 30) . ", 'unixepoch', '+" . r(50) . " months'), strftime('%j %W %s %f', julianday(" . (2400000 + r(90000)) . '.25)), julianday(\'20' . (10 + r(80)) . '-03-04\');',
			'select json_extract(json_object(\'k\', json_array(1, ' . r(99) . ', json(\'{"z":[true,null,1.5e3]}\'))), \'$.k[' . r(4) . ']\'), json_group_array(b) from (select b from t order by a limit 9);',
			'explain query plan select * from t, u where t.b = u.v and u.k > ' . r(100) . ';',
			'select nothing from nowhere_' . word() . '; select 1 +;') } 1 .. 40);
}
script('30-virtual', 'create virtual table f using fts5(body, tokenize = \'porter\');', 'create virtual table g using rtree(id, x0, x1, y0, y1);',
	(map { 'insert into f values(\'' . join(' ', map { word() } 1 .. 12) . ' running jumped\');' } 1 .. 200),
	(map { my ($x, $y) = (r(1000), r(1000)); "insert into g values($_,$x," . ($x + r(50)) . ",$y," . ($y + r(50)) . ');' } 1 .. 400),
	"select count(*) from f where f match 'run'; select rowid, highlight(f, 0, '<', '>') from f where f match 'jump AND a*' order by rank limit 8;",
	"select id from g where x0 > 200 and x1 < 400 and y0 > 100 order by id; insert into f(f) values('integrity-check'); insert into f(f) values('optimize');",
	'select * from generate_series(1, 50, 7); select value from json_each(\'[3,[4],{"a":5}]\'); select * from pragma_table_info(\'t\');');
script('31-shell', (map { (".mode $_", 'select a, b, c, x from t where a < 6;') } qw(csv json line markdown html insert quote table box column tcl)), '.headers on',
	'.mode list', '.separator "|"', 'select * from u limit 3;', '.explain on', 'explain select count(*) from t where b > \'m\';', '.import /dev/null t', '.help', '.no_such', '.show', '.databases', '.fullschema');
