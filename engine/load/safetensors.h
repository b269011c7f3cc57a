/* safetensors.h - the header of a safetensors file as tensors, and the index of a sharded one as
 * the list of its files.
 *
 * Everything is checked: that each tensor's bytes are those of its type and shape, and that all of
 * them together are the file, without a hole and without an overlap. */
#ifndef ENGINE_LOAD_SAFETENSORS_H
#define ENGINE_LOAD_SAFETENSORS_H

#include "engine/load/checkpoint.h"

/* The format's types, as ckpt_tensor.type_number. Those without an enum dtype have dtype -1. */
enum st_type {
    ST_F64,
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_F8_E4M3,
    ST_F8_E5M2,
    ST_F8_E8M0,
    ST_I64,
    ST_I32,
    ST_I16,
    ST_I8,
    ST_U64,
    ST_U32,
    ST_U16,
    ST_U8,
    ST_BOOL,
    N_ST_TYPE
};
const char *safetensors_type_name(uint32_t type); /* "F8_E4M3"; NULL: no such type */
int safetensors_type_bytes(uint32_t type);

bool safetensors_match(struct bytes file);

struct st_table { /* grows; its memory is the caller's to free */
    struct ckpt_tensor *tensor;
    int n, cap;
};
/* Appends the tensors of c->file[file]. */
enum status safetensors_read(struct checkpoint *c, int file, struct st_table *t);

/* The weight_map of an index: `each` is called for every tensor, in the file's order. */
enum status safetensors_index(struct bytes json,
                              enum status (*each)(void *ctx, struct bytes tensor,
                                                  struct bytes file),
                              void *ctx);

#endif
