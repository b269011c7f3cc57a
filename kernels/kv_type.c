/* kv_type.c - see kv_type.h. */
#include "kernels/kv_type.h"

#include <string.h>

/* clang-format off */
static const struct {
    const char *name;
    enum dtype type;
    int bytes, extra; /* of a number; of a position's K or V of a head beside them */
} types[] = {
    {"f32",  DT_F32,     4, 0},
    {"bf16", DT_BF16,    2, 0},
    {"fp8",  DT_F8_E4M3, 1, 1},
};
/* clang-format on */
enum { N_TYPES = sizeof types / sizeof *types };

enum status kv_type_read(const char *name, enum dtype *out)
{
    for (int i = 0; i < N_TYPES; i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].type;
            return OK;
        }
    return fail_field(ERR_INVALID, "kv-type", "KV type '%s' is not supported: " KV_TYPES " are",
                      name);
}

const char *kv_type_name(enum dtype t)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == t)
            return types[i].name;
    return NULL;
}

int64_t kv_page_bytes(enum dtype t, int n_head, int page_tokens, int head_dim)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == t)
            return (int64_t)2 * n_head * page_tokens *
                   ((int64_t)head_dim * types[i].bytes + types[i].extra);
    return 0;
}
