/*
 * map_chunks: what map_encode.c and map_decode.c share: the tags of a map's chunks, in the order in which they stand in the file.
 */
#ifndef FORMATS_MAP_CHUNKS_H
#define FORMATS_MAP_CHUNKS_H

#include "formats/map.h"
#include "formats/section.h"

#define MAP_CHUNK_HEAD CONTAINER_TAG('H', 'E', 'A', 'D')
#define MAP_CHUNK_STRINGS CONTAINER_TAG('S', 'T', 'R', 'S')
#define MAP_CHUNK_FUNCTIONS CONTAINER_TAG('F', 'U', 'N', 'C')
#define MAP_CHUNK_BLOCKS CONTAINER_TAG('B', 'L', 'C', 'K')
#define MAP_CHUNK_CALLS CONTAINER_TAG('C', 'A', 'L', 'L')
#define MAP_CHUNK_IMPORTS CONTAINER_TAG('I', 'M', 'P', 'T')
#define MAP_CHUNK_TABLES CONTAINER_TAG('T', 'A', 'B', 'L')
#define MAP_CHUNK_MADE CONTAINER_TAG('M', 'A', 'D', 'E') /* not required */
#define MAP_CHUNK_SYSCALLS CONTAINER_TAG('S', 'Y', 'S', 'C')

#define MAP_CHUNK_HAS_NEXT 0x80u /* in the terminator byte: the block falls into the next one */

#endif
