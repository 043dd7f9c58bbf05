#include "victim.h"

thread_local int library_live;

failure::~failure()
{
}

void library_descend(int depth, callback callback, void *data)
{
	guard g(&library_live);
	std::string text(depth * 7 + 20, 'x'); /* a cleanup that frees memory */
	if (depth > 0)
		library_descend(depth - 1, callback, data);
	else
		callback(depth, data);
	if (text.size() == 3)
		callback(3, data);
}

int library_catch(int what, callback callback, void *data)
{
	guard g(&library_live);
	try {
		callback(what, data);
	} catch (const special_failure &f) {
		return 1000 + f.code;
	} catch (const failure &f) {
		return 2000 + f.code;
	} catch (int value) {
		return 3000 + value;
	}
	return 0;
}
