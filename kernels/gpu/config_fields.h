/* config_fields.h - the members of a configuration's objects as tables, from which config_read.c
 * and config_write.c work: what one takes the other gives. For files of this folder. */
#ifndef KERNELS_GPU_CONFIG_FIELDS_H
#define KERNELS_GPU_CONFIG_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

enum field_type { F_TEXT, F_INT, F_INT64, F_NUMBER, F_FLAG };
struct field {
    const char *name;
    enum field_type type;
    size_t at;
    bool required;
    double least, most; /* of numbers */
};

/* Members by a table, and those that the caller reads itself, as "kind pci". */
struct table {
    const struct field *f;
    int n;
    const char *own;
};
enum gpu_fields {
    GPU_FIELDS_PROVENANCE,
    GPU_FIELDS_CEIL,
    GPU_FIELDS_EFF,
    GPU_FIELDS_PARAMS, /* of a launch of our own */
    GPU_FIELDS_GEMM,
    GPU_FIELDS_ATTN,
    GPU_FIELDS_LT,
    N_GPU_FIELDS
};
struct table gpu_fields(enum gpu_fields which);

struct json;
int gpu_kind_find(const struct json *v); /* enum gpu_kind, enum gpu_path of a text; -1: unknown */
int gpu_path_find(const struct json *v);

#endif
