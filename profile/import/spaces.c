#include "profile/import/spaces.h"

#include "formats/base/vec.h"
#include "profile/idmap.h"

#include <stdbool.h>
#include <sys/random.h>

#define NIL 0u /* node 0 is never used */

/*
 * A treap: a search tree by `start`, a heap by `priority`. A node that only one space can reach (its owner) is changed in place; any other is
 * copied on the way down. Priorities come from a random seed, so no file can choose the tree's shape.
 */
struct node {
	uint64_t start, end;
	uint32_t mapping, left, right, priority;
	uint64_t owner;
};

struct one_space {
	uint32_t root;
	uint64_t owner;
};

struct spaces {
	VEC(struct node) nodes;
	VEC(struct one_space) list;
	struct idmap by_pid; /* pid + 1 -> list */
	uint64_t owners, random;
	bool failed; /* memory ran out in the middle: the trees are not to be used */
};

int spaces_new(struct spaces **ret_spaces, struct err *e)
{
	struct spaces *s = calloc(1, sizeof *s);
	if (!s || vec_push(&s->nodes, (struct node){0})) {
		free(s);
		return err_set(e, ERR_MEMORY, "no memory for address spaces");
	}
	if (getrandom(&s->random, sizeof s->random, GRND_NONBLOCK) != sizeof s->random)
		s->random = (uintptr_t)s;
	*ret_spaces = s;
	return 0;
}

void spaces_free(struct spaces *s)
{
	if (!s)
		return;
	vec_free(&s->nodes);
	vec_free(&s->list);
	idmap_free(&s->by_pid);
	free(s);
}

static uint32_t next_random(struct spaces *s)
{
	uint64_t z = s->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z ^ z >> 31);
}

static uint32_t add_node(struct spaces *s, struct node node)
{
	if (s->nodes.count >= UINT32_MAX || vec_push(&s->nodes, node)) {
		s->failed = true;
		return NIL;
	}
	return (uint32_t)s->nodes.count - 1;
}

/* The node itself if `owner` may change it, otherwise a copy that it may change. */
static uint32_t own(struct spaces *s, uint64_t owner, uint32_t n)
{
	if (s->nodes.data[n].owner == owner)
		return n;
	struct node copy = s->nodes.data[n];
	copy.owner = owner;
	return add_node(s, copy);
}

/* *ret_left: nodes that start below `key`; *ret_right: the others. */
static void split(struct spaces *s, uint64_t owner, uint32_t n, uint64_t key, uint32_t *ret_left, uint32_t *ret_right)
{
	uint32_t below = NIL, rest = NIL;
	if (n != NIL && (n = own(s, owner, n)) != NIL) {
		if (s->nodes.data[n].start < key) {
			split(s, owner, s->nodes.data[n].right, key, &below, &rest);
			s->nodes.data[n].right = below;
			below = n;
		} else {
			split(s, owner, s->nodes.data[n].left, key, &below, &rest);
			s->nodes.data[n].left = rest;
			rest = n;
		}
	}
	*ret_left = below;
	*ret_right = rest;
}

/* All of `left` is below all of `right`. */
static uint32_t merge(struct spaces *s, uint64_t owner, uint32_t left, uint32_t right)
{
	if (left == NIL || right == NIL)
		return left == NIL ? right : left;
	bool left_on_top = s->nodes.data[left].priority >= s->nodes.data[right].priority;
	uint32_t top = own(s, owner, left_on_top ? left : right);
	if (left_on_top) {
		uint32_t below = merge(s, owner, s->nodes.data[top].right, right);
		s->nodes.data[top].right = below;
	} else {
		uint32_t below = merge(s, owner, left, s->nodes.data[top].left);
		s->nodes.data[top].left = below;
	}
	return top;
}

/* Cuts the last range of the tree off at `at`; what it had behind `end` goes to *ret_rest (a tree of one node or NIL). Returns the new root. */
static uint32_t cut_last(struct spaces *s, uint64_t owner, uint32_t root, uint64_t at, uint64_t end, uint32_t *ret_rest)
{
	*ret_rest = NIL;
	uint32_t last = root;
	while (last != NIL && s->nodes.data[last].right != NIL)
		last = s->nodes.data[last].right;
	if (last == NIL || s->nodes.data[last].end <= at)
		return root;
	struct node node = s->nodes.data[last];
	if (node.end > end) {
		struct node rest = node;
		rest.start = end;
		rest.left = rest.right = NIL;
		rest.priority = next_random(s);
		rest.owner = owner;
		*ret_rest = add_node(s, rest);
	}
	/* Down once more, owning the way. */
	uint32_t new_root = own(s, owner, root);
	for (uint32_t n = new_root; n != NIL;) {
		uint32_t right = s->nodes.data[n].right;
		if (right == NIL) {
			s->nodes.data[n].end = at;
			break;
		}
		right = own(s, owner, right);
		s->nodes.data[n].right = right;
		n = right;
	}
	return new_root;
}

static int space_of(struct spaces *s, uint32_t pid, struct one_space **ret_space, struct err *e)
{
	uint32_t index = idmap_get(&s->by_pid, (uint64_t)pid + 1);
	if (index == IDMAP_NONE) {
		index = (uint32_t)s->list.count;
		struct one_space new = {.root = NIL, .owner = ++s->owners};
		if (vec_push(&s->list, new) || idmap_set(&s->by_pid, (uint64_t)pid + 1, index))
			return err_set(e, ERR_MEMORY, "no memory for more address spaces");
	}
	*ret_space = &s->list.data[index];
	return 0;
}

int spaces_map(struct spaces *s, uint32_t pid, raddr start, raddr end, uint32_t mapping, struct err *e)
{
	struct one_space *space;
	uint32_t below, covered, above, rest_below, rest_covered;
	if (start.v >= end.v)
		return 0;
	int status = space_of(s, pid, &space, e);
	if (status)
		return status;
	uint64_t owner = space->owner;
	struct node node = {.start = start.v, .end = end.v, .mapping = mapping, .priority = next_random(s), .owner = owner};
	uint32_t new = add_node(s, node);
	split(s, owner, space->root, start.v, &below, &above);
	below = cut_last(s, owner, below, start.v, end.v, &rest_below);
	split(s, owner, above, end.v, &covered, &above);
	cut_last(s, owner, covered, end.v, end.v, &rest_covered); /* `covered` itself is dropped: only what stands out is kept */
	uint32_t rest = rest_below != NIL ? rest_below : rest_covered;
	space->root = merge(s, owner, merge(s, owner, below, new), merge(s, owner, rest, above));
	return s->failed ? err_set(e, ERR_MEMORY, "no memory for more mappings") : 0;
}

int spaces_fork(struct spaces *s, uint32_t parent, uint32_t child, struct err *e)
{
	struct one_space *from, *to;
	int status = space_of(s, parent, &from, e);
	if (!status)
		status = space_of(s, child, &to, e);
	if (!status)
		status = space_of(s, parent, &from, e); /* the list may have moved */
	if (status || from == to)
		return status;
	from->owner = ++s->owners; /* from now on neither may change what both can reach */
	to->owner = ++s->owners;
	to->root = from->root;
	return 0;
}

void spaces_exec(struct spaces *s, uint32_t pid)
{
	uint32_t index = idmap_get(&s->by_pid, (uint64_t)pid + 1);
	if (index != IDMAP_NONE)
		s->list.data[index].root = NIL;
}

uint32_t spaces_find(const struct spaces *s, uint32_t pid, raddr address)
{
	uint32_t index = idmap_get(&s->by_pid, (uint64_t)pid + 1);
	uint32_t n = index == IDMAP_NONE ? NIL : s->list.data[index].root;
	while (n != NIL) {
		const struct node *node = &s->nodes.data[n];
		if (address.v >= node->start && address.v < node->end)
			return node->mapping;
		n = address.v < node->start ? node->left : node->right;
	}
	return SPACES_NONE;
}
