/*
 * drawn: a course of control drawn from counts, for a machine to follow, where nobody recorded the true one.
 *
 * It is a first-order Markov walk with a call stack: at each node the way on is drawn by the counts of its arcs, calls return to where they came
 * from. Loops so iterate with their measured mean, and each block runs in its measured share; what is lost is order over more than one step.
 *
 * The walk is cut into *episodes*, since a program of long phases would need billions of instructions to show its mean. Each begins somewhere in the
 * program as a stopped thread would be found: a node by its share of the executed instructions (stratified: one draw in each of equal parts), under a stack drawn
 * backwards, caller by caller, by the counts of the calls. That is the stationary state of the walk. The first quarter of an episode warms the
 * caches and is not counted.
 *
 * What it can tell: taken branches and exits to some percent, what is touched, and the direction and rough size of what a layout does to misses. What
 * it cannot: misses to 15 %. Measured with exact counts against cachegrind at 8 KiB 2-way, 16 KiB 4-way, 32 KiB 8-way: perl +13, +31, +27 %; bash
 * +1, -6, -22 %; small sqlite statements -11, -14, -7 %; cc1plus +10, +17, +26 %; python +20, +64, +115 %; a few large sqlite queries -5, +19, +295 % (of
 * 2.8 per 1000). After a relayout (`repave-apply file`): perl +20, +25, -11 %; bash +1, -6, -21 %; python +28, +99, +111 %.
 * A profile of counts does not say in which order things happen: an interpreter that repeats ten instructions of its language for long
 * looks like one that mixes a hundred. Tried and not kept, since each made one program better and others worse: regular choice (error diffusion)
 * instead of drawn, which mixes all phases evenly (then perl +94 % at 32 KiB); repeating with probability 0.7..0.99 what followed the same last 0..6
 * choices (bash -50..-85 %); the same only at jump tables and indirect calls. A recorded course has the order (recorded.h).
 */
#ifndef ANALYZE_SIMULATE_DRAWN_H
#define ANALYZE_SIMULATE_DRAWN_H

#include "analyze/simulate/follow.h"

struct drawn_options {
	uint64_t seed;
	uint64_t instructions;						/* to count; a third more are executed to warm the caches */
	uint64_t episode;						/* instructions */
	void (*progress)(void *context, uint64_t done, uint64_t whole); /* may be NULL */
	void *context;
};
struct drawn_options drawn_options_default(void);

struct drawn_result {
	uint64_t episodes;
	double deviation; /* share of the executed instructions that lie elsewhere than the profile says; 0..1 */
};

/* The same options give the same course. The program must have been made with a profile. ERR_MEMORY. */
int drawn_run(const struct drawn_options *options, struct follow *f, struct drawn_result *ret_result, struct err *e) MUST_CHECK;

#endif
