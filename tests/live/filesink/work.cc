#include <algorithm>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct F {
	static constexpr long v = F<N - 1>::v + F<N - 2>::v;
};
template <> struct F<0> {
	static constexpr long v = 0;
};
template <> struct F<1> {
	static constexpr long v = 1;
};
struct V {
	std::variant<int, std::string, double> x;
};
int main(int c, char **v)
{
	std::map<std::string, std::vector<int>> m;
	std::regex r("([a-z]+)([0-9]*)");
	std::smatch s;
	std::string t(v[0]);
	for (int i = 0; i < c; i++) {
		std::string a(v[i]);
		if (std::regex_match(a, s, r))
			m[s[1]].push_back(i);
	}
	std::unordered_map<int, std::unique_ptr<V>> u;
	for (auto &[k, w] : m) {
		std::sort(w.begin(), w.end(), [](int a, int b) { return a > b; });
		u[w.size()] = std::make_unique<V>();
	}
	std::thread th([&] {
		std::ostringstream o;
		o << F<40>::v;
		t += o.str();
	});
	th.join();
	std::cout << t << u.size();
	std::visit([](auto &&y) { std::cout << y; }, u[0] ? u[0]->x : V{}.x);
	return 0;
}
