/*
 * course: how often everything was executed that a recorded course shows: counts and edges as callgrind would have counted them, so that plans and
 * whatever else wants counts can be made of a profile that has nothing but a course.
 *
 * In modules of which there is no map and file, a step counts only for its own instruction. Calls through a PLT stub lead to where the stub jumped.
 * Returns are no edges. A repeated string instruction counts once each time, the rest of its block once.
 */
#ifndef ANALYZE_LAYOUT_COURSE_H
#define ANALYZE_LAYOUT_COURSE_H

#include "formats/base/err.h"
#include "formats/map.h"
#include "formats/profile.h"

#include <stdbool.h>
#include <stddef.h>

#define COURSE_THREADS_MAX 64u /* of more, the one that has not run for longest goes on as after a gap */

/* Is the course all that it has? */
bool course_is_all(const struct profile *profile);

/*
 * Gives `profile`, decoded from `data` and with nothing but a course, the counts and edges of that course; it is PROFILE_EXACT then. `maps` may be
 * more than the profile has; their files are read. ERR_MEMORY, errors of profile_walk; `profile` is unchanged then.
 */
int course_count(const void *data, size_t size, const char *name, const struct map *const *maps, size_t map_count, struct profile *profile,
		 struct err *e) MUST_CHECK;

#endif
