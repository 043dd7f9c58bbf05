/* Throws through frames of whoever calls back, and catches. Loaded late. */
#include <stdexcept>
#include <string>

extern "C" void plugin_throw(int code)
{
	if (code)
		throw std::runtime_error(std::to_string(code));
}

extern "C" int plugin_catch(void (*callback)(int), int code)
{
	try {
		std::string guard(64, 'x');
		callback(code);
	} catch (const std::runtime_error &e) {
		return std::stoi(e.what());
	}
	return -1;
}
