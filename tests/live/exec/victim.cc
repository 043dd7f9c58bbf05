// What cc1plus compiles: enough of the library that its hot code is used.
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>

int main()
{
	std::map<std::string, std::vector<int>> groups;
	for (int i = 0; i < 100; i++)
		groups[std::to_string(i % 7)].push_back(i);
	for (auto &[name, numbers] : groups) {
		std::sort(numbers.rbegin(), numbers.rend());
		std::cout << name << ' ' << numbers.size() << '\n';
	}
}
