/*
 * version: the version of the tool, as it is written into journals and notes.
 */
#ifndef APPLY_VERSION_H
#define APPLY_VERSION_H

#ifndef REPAVE_VERSION
#define REPAVE_VERSION "0.1"
#endif

#endif
