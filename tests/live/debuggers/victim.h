#ifndef VICTIM_H
#define VICTIM_H

typedef unsigned callback(unsigned seed);

unsigned library_leaf(unsigned seed, unsigned count);
unsigned library_inner(unsigned seed, callback *call);
unsigned library_outer(unsigned seed, callback *call);
unsigned library_spin(unsigned seed, callback *call);

#endif
