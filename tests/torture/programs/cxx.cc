// Uses much of the C++ library, and throws through it. Prints what came of it; each argument names a part to run.
#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <codecvt>
#include <complex>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <fstream>
#include <functional>
#include <future>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <list>
#include <locale>
#include <map>
#include <memory_resource>
#include <numeric>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <valarray>
#include <variant>
#include <vector>

using namespace std;

static void streams()
{
	for (int i = -200; i < 200; i++) {
		ostringstream s;
		s << i << ' ' << hex << showbase << i << ' ' << oct << i << dec << ' ' << setw(12) << setfill('*') << left << i * 1.7
		  << scientific << setprecision(i & 15) << i / 3.0 << hexfloat << i / 7.0 << defaultfloat << boolalpha << (i > 0) << ' '
		  << showpos << 1e20L * i << '\n';
		istringstream in(s.str());
		int a = 0;
		string b, c;
		in >> a >> b >> c;
		cout << s.str() << a << b << c << in.good() << in.tellg() << '\n';
	}
	wostringstream w;
	w << L"wide " << 3.5 << put_time(gmtime(new time_t(86400)), L"%c") << put_money(12345.6L);
	cout << w.str().size() << ' ' << quoted("a \"b\"") << '\n';
	istringstream bad("x 99999999999999999999 0x1f 1e999 12abc");
	int n;
	for (int i = 0; i < 5; i++, bad.clear()) {
		bad >> n;
		cout << n << bad.fail() << bad.eof() << ' ';
		string rest;
		bad.clear();
		bad >> rest;
	}
	try {
		istringstream strict("z");
		strict.exceptions(ios::failbit);
		strict >> n;
	} catch (const ios_base::failure &f) {
		cout << "failure\n";
	}
}

static void strings()
{
	string s, t = "the quick brown fox jumps over the lazy dog ";
	unsigned r = 7;
	for (int i = 0; i < 20000; i++) {
		r = r * 1103515245 + 12345;
		switch (r >> 16 & 7) {
		case 0:
			s += t;
			break;
		case 1:
			s.insert(s.size() / 2, t, min<size_t>(r >> 20 & 15, t.size()), 5);
			break;
		case 2:
			s.erase(s.size() / 3, r >> 20 & 31);
			break;
		case 3:
			s.replace(s.size() / 4, min<size_t>(7, s.size() / 2), to_string(r));
			break;
		case 4:
			rotate(s.begin(), s.begin() + s.size() / 5, s.end());
			break;
		case 5:
			t = s.substr(s.size() / 3, 40) + "x";
			break;
		default:
			if (s.size() > 5000)
				s.resize(100);
			s.push_back('a' + r % 26);
		}
	}
	cout << s << '\n'
	     << s.find("fox") << s.rfind("o") << s.find_first_of("xyz") << s.find_last_not_of("abc") << hash<string>()(s) << s.compare(t)
	     << '\n';
	cout << stoi("42") << stod("1.5e3") << stoull("ff", nullptr, 16) << to_string(1.25) << '\n';
	for (const char *bad : {"x", "99999999999999", ""})
		try {
			cout << stoi(bad);
		} catch (const invalid_argument &e) {
			cout << e.what() << '\n';
		} catch (const out_of_range &e) {
			cout << "range " << e.what() << '\n';
		}
	try {
		cout << s.at(s.size());
	} catch (const exception &e) {
		cout << e.what() << '\n';
	}
}

static void patterns()
{
	string text;
	for (int i = 0; i < 1500; i++)
		text += string(1, 'a' + i * 7 % 26) + to_string(i * 31 % 977) + (i % 11 ? " " : "\n");
	for (const char *p :
	     {"([a-f])(\\d+)", "\\b(\\w)\\d{2}\\b", "(a|b|c)+?(\\d)\\2", "[[:alpha:]]1[0-5]*", "(?=x)x9", "^z.*$", "(\\d+) \\w\\1"}) {
		regex re(p, regex::ECMAScript | regex::icase);
		int n = 0;
		for (sregex_iterator i(text.begin(), text.end(), re), end; i != end; ++i)
			if (n++ < 5)
				cout << i->str() << '@' << i->position() << ' ';
		cout << n << ' ' << regex_replace(text.substr(0, 200), re, "<$1>") << '\n';
	}
	try {
		regex bad("(");
	} catch (const regex_error &e) {
		cout << e.what() << '\n';
	}
}

static void containers()
{
	mt19937_64 g(5);
	map<string, vector<int>> m;
	unordered_map<int, string> u;
	multiset<double> ms;
	deque<int> d;
	list<int> l;
	for (int i = 0; i < 20000; i++) {
		int k = g() % 3000;
		m[to_string(k)].push_back(i);
		u[k] += 'a' + i % 26;
		ms.insert(normal_distribution<>(0, 9)(g));
		i & 1 ? d.push_front(k) : d.push_back(k);
		if (i % 3 == 0)
			l.push_back(k);
		if (i % 5 == 0)
			u.erase(k / 2), m.erase(to_string(k / 3));
	}
	l.sort();
	l.unique();
	sort(d.begin(), d.end());
	stable_sort(d.begin(), d.end(), [](int a, int b) { return a % 100 < b % 100; });
	cout << m.size() << ' ' << u.size() << ' ' << *next(ms.begin(), 77) << ' ' << l.size() << ' ' << d[777] << ' '
	     << accumulate(d.begin(), d.end(), 0L) << '\n';
	for (auto &[k, v] : m)
		if (v.size() > 11)
			cout << k << ':' << v.size() << ' ';
	pmr::monotonic_buffer_resource pool;
	pmr::vector<pmr::string> pv(&pool);
	for (int i = 0; i < 500; i++)
		pv.emplace_back(to_string(i) + "-a-string-that-is-long");
	valarray<double> va(100);
	iota(begin(va), end(va), 1);
	cout << pv[400] << (va * va).sum() << pow(complex<double>(1, 2), 3) << '\n';
	for (int k = 0; k < 9; k++)
		cout << gamma_distribution<>(k + 1)(g) << ' ' << poisson_distribution<>(k + 1)(g) << ' '
		     << binomial_distribution<>(50, .3)(g) << '\n';
}

struct deep {
	int n;
	~deep()
	{
		count++;
	}
	static inline atomic<int> count{0};
};

static int throws(int n, const function<int(int)> &f)
{
	deep d{n};
	if (!n)
		return f(n);
	try {
		return throws(n - 1, f) + 1;
	} catch (int k) {
		if (n % 3)
			throw;
		throw to_string(k);
	} catch (const string &s) {
		if (n % 5)
			throw stoi(s) + 1;
		throw_with_nested(runtime_error(s));
	} catch (const runtime_error &e) {
		throw long(n);
	} catch (long l) {
		throw int(l);
	}
}

static void exceptions()
{
	for (int i = 0; i < 400; i++)
		try {
			cout << throws(i % 60, [i](int) -> int {
				if (i % 4 == 0)
					throw i;
				if (i % 4 == 1)
					return vector<int>(2).at(i);
				if (i % 4 == 2)
					any_cast<int>(any(1.5));
				return get<1>(variant<int, string>("s")).size();
			});
		} catch (int k) {
			cout << 'i' << k << ' ';
		} catch (const string &s) {
			cout << 's' << s << ' ';
		} catch (const exception &e) {
			cout << 'e' << e.what() << ' ';
		} catch (long l) {
			cout << 'l' << l << ' ';
		}
	cout << deep::count << '\n';
}

static void threads()
{
	vector<future<long>> f;
	mutex m;
	condition_variable cv;
	int turn = 0;
	atomic<long> thrown{0};
	for (int k = 0; k < 8; k++)
		f.push_back(async(launch::async, [&, k] {
			long s = 0;
			for (int i = 0; i < 2000; i++)
				try {
					s += throws(i % 9, [&](int) -> int { throw k; });
				} catch (...) {
					thrown++;
				}
			unique_lock l(m);
			cv.wait(l, [&] { return turn == k; });
			turn++;
			cv.notify_all();
			if (k == 5)
				throw logic_error("five");
			return s + k;
		}));
	for (auto &x : f)
		try {
			cout << x.get() << ' ';
		} catch (const logic_error &e) {
			cout << e.what() << ' ';
		}
	cout << thrown << '\n';
}

static void files()
{
	namespace fs = filesystem;
	fs::create_directories("made/a/b");
	for (int i = 0; i < 50; i++)
		ofstream("made/a/f" + to_string(i)) << setw(i * 10) << i << '\n';
	fs::copy("made/a", "made/c", fs::copy_options::recursive);
	fs::rename("made/c/f3", "made/c/b/g3");
	uintmax_t size = 0;
	set<string> names;
	for (auto &e : fs::recursive_directory_iterator("made")) {
		names.insert(e.path().string());
		if (e.is_regular_file())
			size += e.file_size();
	}
	for (auto &n : names)
		cout << n << ' ';
	fs::path p = "/a/./b/../c.tar.gz";
	cout << size << p.lexically_normal() << p.extension() << p.stem() << fs::relative("made/a", "made/c") << '\n';
	try {
		fs::remove("made");
	} catch (const fs::filesystem_error &e) {
		cout << e.code().message() << '\n';
	}
	cout << fs::remove_all("made") << '\n';
}

int main(int count, char **names)
{
	const map<string, void (*)()> parts = {
	    {"streams", streams},	{"strings", strings}, {"patterns", patterns}, {"containers", containers},
	    {"exceptions", exceptions}, {"threads", threads}, {"files", files}};
	for (int i = 1; i < count; i++)
		parts.at(names[i])();
	return 0;
}
