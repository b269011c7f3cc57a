/* split.h - a GGUF checkpoint in several files, `name-00001-of-00003.gguf` and so on: what the keys
 * of a part say, and what the parts are called. */
#ifndef ENGINE_LOAD_SPLIT_H
#define ENGINE_LOAD_SPLIT_H

#include "engine/load/checkpoint.h"

enum { SPLIT_MOST = 1024 }; /* parts */

struct split {
    int no, count;   /* this part, from 0; a whole file is part 0 of 1 */
    int64_t tensors; /* in all parts, -1: not said */
};

/* The keys split.no, split.count and split.tensors.count of one file. */
enum status split_read(const struct ckpt_key *key, int n_keys, struct split *out);
/* Part `no`, by the name of part s->no. Caller frees. */
enum status split_path(const char *path, const struct split *s, int no, char **out);
/* Does a file that should be part `no` of the checkpoint that `first` begins say so itself? */
enum status split_belongs(const struct split *first, const struct split *part, int no);

#endif
