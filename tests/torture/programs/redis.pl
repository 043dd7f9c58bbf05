#!/usr/bin/perl
# redis.pl: commands for redis-cli, the same on every run.
use strict;
use warnings;

my $state = 9;
sub r { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0] }
sub pick { return $_[r(scalar @_)] }
sub w { return join '', map { chr(97 + r(26)) } 0 .. r(shift || 12) }
sub k { my $type = shift; return $type . r(12) }

print "flushall\n";
for (1 .. 4000) {
	print pick(
		'set ' . k('s') . ' ' . w(60), 'append ' . k('s') . ' ' . w(), 'getrange ' . k('s') . ' ' . r(9) . ' -' . r(9), 'setrange ' . k('s') . ' ' . r(200) . ' ' . w(), 'incrby n' . r(9) . ' ' . r(999),
		'incrbyfloat f' . r(5) . ' ' . r(100) / 8, 'rpush ' . k('l') . ' ' . join(' ', map { w() } 0 .. r(9)), 'lpush ' . k('l') . ' ' . w(90), 'lpop ' . k('l') . ' ' . r(4), 'lrange ' . k('l') . ' 0 9', 'linsert ' . k('l') . ' before ' . w(1) . ' ' . w(),
		'ltrim ' . k('l') . ' 0 200', 'lset ' . k('l') . ' 0 ' . w(), 'sadd ' . k('t') . ' ' . join(' ', map { r(500) } 0 .. r(9)), 'sadd ' . k('t') . ' ' . w(), 'sintercard 2 ' . k('t') . ' ' . k('t'), 'scard ' . k('t'), 'srem ' . k('t') . ' ' . r(500), 'sunionstore ' . k('t') . ' ' . k('t') . ' ' . k('t'),
		'hset ' . k('h') . ' ' . w(2) . ' ' . w(30), 'hincrby ' . k('h') . ' c ' . r(99), 'hdel ' . k('h') . ' ' . w(1), 'hlen ' . k('h'), 'zadd ' . k('z') . ' ' . r(1000) / 7 . ' ' . w(3), 'zrangebyscore ' . k('z') . ' 10 80 withscores limit 0 9', 'zrank ' . k('z') . ' ' . w(1),
		'zincrby ' . k('z') . ' ' . r(20) . ' ' . w(1), 'zpopmin ' . k('z'), 'zunionstore ' . k('z') . ' 2 ' . k('z') . ' ' . k('z') . ' weights 2 0.5', 'zremrangebyrank ' . k('z') . ' 300 -1', 'setbit b' . r(4) . ' ' . r(5000) . ' 1', 'bitcount b' . r(4), 'bitop xor b9 b0 b1', 'bitfield b' . r(4) . ' incrby i5 ' . r(100) . ' 3',
		'pfadd p' . r(3) . ' ' . join(' ', map { w(3) } 1 .. 8), 'pfcount p0 p1 p2', 'geoadd g ' . (r(3600) / 10 - 180) . ' ' . (r(1600) / 10 - 80) . ' ' . w(2), 'geosearch g fromlonlat 10 20 byradius 3000 km asc count 5', 'xadd x' . r(3) . ' 1-* a ' . w(), 'xrange x' . r(3) . ' - + count 3', 'xtrim x' . r(3) . ' maxlen 200',
		'rename ' . k('s') . ' ' . k('s'), 'type ' . k(pick(qw(s l t h z))), 'object encoding ' . k(pick(qw(s l t h z))), 'del ' . k(pick(qw(s l t h z))), 'copy ' . k('z') . ' zz replace', 'sort ' . k('l') . ' alpha limit 0 5', 'lcs ' . k('s') . ' ' . k('s') . ' len', 'getset ' . k('s') . ' ' . w(200), 'strlen ' . k('s'), 'wrong ' . w(),
		'eval "local s = 0 for i = 1, ' . r(400) . ' do s = (s * 31 + i) % 10007 end redis.call(\'set\', KEYS[1], s) return {s, redis.call(\'strlen\', KEYS[1]), string.format(\'%5.2f|%s\', s / 7, KEYS[1])}" 1 ' . k('s')
	), "\n";
}
