#!/usr/bin/perl
# templates.pl: C++ that keeps a compiler busy: templates, constexpr, lambdas, virtual classes, exceptions, loops. The same on every run.
use strict;
use warnings;

my $state = 11;
sub r { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0] }
sub pick { return $_[r(scalar @_)] }
sub expression {
	my $depth = shift;
	return pick('x', 'y', 'this->z', r(1000), '(int)sizeof(A)', 'v[' . r(8) . ']') if $depth <= 0;
	my ($a, $b) = (expression($depth - 1), expression($depth - 1));
	return pick("($a + $b)", "($a * $b)", "($a ^ $b)", "($a < $b ? $a : $b)", "($a << (($b) & 7))", "($a % (($b) | 1))", "[&](auto q) { return q - $a; }($b)", "f($a)");
}
print "#include <vector>\n#include <string>\n#include <memory>\n#include <stdexcept>\n";
for my $n (0 .. 24) {
	my ($e1, $e2, $e3) = (expression(3), expression(4), expression(2));
	my $base = $n ? ": public virtual T" . r($n) . '<A>' : '';
	print <<"CODE";
template <class A> struct T$n $base {
	A z$n = A($n); int z = $n; int v[8] = {1, $n, 3};
	constexpr static int f(int q) { int s = 0; for (int i = 0; i < (q & 15); i++) s += i % @{[2 + r(5)]} ? i : -q; return s; }
	virtual int m$n(int x, int y) { switch (x & 15) { case 0: return $e1; case 1: return y; case 2: return x * 5; case 3: return x / (y | 1); case 4: throw std::out_of_range("T$n"); case 5: return v[y & 7]; case 9: return -y; default: return $e3; } }
	template <class... P> auto all(P... p) { return ((p * $n + z) + ... + 0); }
	double d(const double *a, int n) { double s = 0; for (int i = 0; i < n; i++) s += a[i] * a[(i + $n) % n] - (i & 1 ? s : a[i] / 3); return s; }
	virtual ~T$n() { z$n = A(); }
};
int use$n(int x, int y) { T$n<int> t; try { std::vector<std::string> s{std::to_string(x), "a"}; auto u = std::make_unique<T$n<long>>(); return t.m$n(x, y) + u->all(x, y, $n) + (int)s[0].size() + T$n<char>::f($n); } catch (std::exception &e) { return e.what()[0]; } }
static_assert(T$n<int>::f(0) == 0);
CODE
}
