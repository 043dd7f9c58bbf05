/*
 * map_build: from an ELF image to a map. The result depends on the file alone, not on the number of threads.
 */
#ifndef ANALYZE_CODE_MAP_BUILD_H
#define ANALYZE_CODE_MAP_BUILD_H

#include "analyze/elf/image.h"
#include "formats/map.h"

#define MAP_BUILD_REVISION 5u /* goes up with whatever makes the map of the same file another one */

/* `threads` 0: one per processor. ERR_MEMORY; ERR_UNSUPPORTED: text of 4 GiB or more, or no FDE at all. The map is independent of the image
   afterwards; free it with map_free. */
int map_build(const struct image *image, unsigned threads, struct map *ret_map, struct err *e) MUST_CHECK;

#endif
