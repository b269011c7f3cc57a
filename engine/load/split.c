/* split.c - keys and names of the parts of a split GGUF checkpoint.
 *
 * The count stands in the keys of every part and in every name; all must agree. Nothing is
 * guessed: a part that says something else is refused, since a mixture of two checkpoints would
 * still load. */
#include "engine/load/split.h"

#include <stdio.h>
#include <string.h>

enum { SUFFIX_MOST = 64 };

/* A whole number from 0 to `most`; left as it is when there is no such key. */
static enum status number(const struct ckpt_key *key, int n_keys, const char *name, int64_t most,
                          int64_t *value)
{
    for (int i = 0; i < n_keys; i++) {
        const struct value *v = &key[i].value;

        if (strcmp(key[i].name, name) != 0)
            continue;
        if (v->kind != VALUE_INT || v->integer < 0 || v->integer > most)
            return fail(ERR_FORMAT, "key %s: expected a whole number from 0 to %lld", name,
                        (long long)most);
        *value = v->integer;
    }
    return OK;
}

enum status split_read(const struct ckpt_key *key, int n_keys, struct split *out)
{
    int64_t no = -1, count = 0;

    out->tensors = -1;
    TRY(number(key, n_keys, "split.count", SPLIT_MOST, &count));
    TRY(number(key, n_keys, "split.no", SPLIT_MOST, &no));
    TRY(number(key, n_keys, "split.tensors.count", INT32_MAX, &out->tensors));
    if (count > 1 && no < 0)
        return fail(ERR_FORMAT, "key split.no is missing: which of %lld parts is this?",
                    (long long)count);
    out->count = count > 1 ? (int)count : 1;
    out->no = no > 0 ? (int)no : 0;
    if (out->no >= out->count)
        return fail(ERR_FORMAT, "key split.no is %d, but split.count says %d parts from 0", out->no,
                    out->count);
    return OK;
}

enum status split_path(const char *path, const struct split *s, int no, char **out)
{
    char own[SUFFIX_MOST], wanted[SUFFIX_MOST];
    size_t n = strlen(path), tail;

    snprintf(own, sizeof own, "-%05d-of-%05d.gguf", s->no + 1, s->count);
    snprintf(wanted, sizeof wanted, "-%05d-of-%05d.gguf", no + 1, s->count);
    tail = strlen(own);
    if (n < tail || strcmp(path + n - tail, own) != 0)
        return fail(ERR_FORMAT,
                    "is part %d of %d of a split checkpoint, but its name does not end in %s, so "
                    "the other parts cannot be found",
                    s->no + 1, s->count, own);
    *out = xmalloc(n + sizeof wanted);
    memcpy(*out, path, n - tail);
    memcpy(*out + n - tail, wanted, strlen(wanted) + 1);
    return OK;
}

enum status split_belongs(const struct split *first, const struct split *part, int no)
{
    if (part->count != first->count)
        return fail(ERR_FORMAT, "key split.count is %d, but part 1 says %d", part->count,
                    first->count);
    if (part->no != no)
        return fail(ERR_FORMAT, "key split.no is %d, expected %d for part %d of %d", part->no, no,
                    no + 1, first->count);
    if (part->tensors >= 0 && first->tensors >= 0 && part->tensors != first->tensors)
        return fail(ERR_FORMAT, "key split.tensors.count is %lld, but part 1 says %lld",
                    (long long)part->tensors, (long long)first->tensors);
    return OK;
}
