/* dtype.h - number formats as a table: what a block is, how many bytes, how one block becomes
 * floats.
 *
 * Block formats are those of GGUF (ggml-quants definitions); each has its layout and its decoder in
 * kernels/quant/<format>.h, shared by host and device. To add one: that file, and a row here. */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DT_F32,
    DT_F16,
    DT_BF16,
    DT_I32,
    DT_U8,
    DT_Q8_0,
    DT_Q4_0,
    DT_Q4_1,
    DT_Q5_0,
    DT_Q5_1,
    DT_Q4_K,
    DT_Q5_K,
    DT_Q6_K,
    DT_F64,
    DT_I8,
    DT_I16,
    DT_I64,
    DT_Q1_0,
    DT_Q2_0,
    DT_Q8_1,
    DT_Q2_K,
    DT_Q3_K,
    DT_Q8_K,
    DT_IQ1_S,
    DT_IQ1_M,
    DT_IQ2_XXS,
    DT_IQ2_XS,
    DT_IQ2_S,
    DT_IQ3_XXS,
    DT_IQ3_S,
    DT_IQ4_NL,
    DT_IQ4_XS,
    DT_TQ1_0,
    DT_TQ2_0,
    DT_MXFP4,
    DT_NVFP4,
    DT_F8_E4M3, /* of no GGUF file: made from other checkpoints */
    DT_NF4,
    N_DTYPE
};

struct quant_ints;
struct dtype_info {
    const char *name;                              /* as users write it: "q4_0" */
    int block;                                     /* elements in a block; 1 for plain types */
    int bytes;                                     /* bytes of a block */
    int gguf;                                      /* type number in a GGUF file, -1: has none */
    void (*decode)(const void *block, float *out); /* block elements, exactly as the format defines
                                                      them; NULL: not a weight type */
    void (*encode)(const float *in,
                   void *block); /* round to nearest as the reference quantizer; NULL: not built */
    void (*ints)(const void *block, int group,
                 struct quant_ints *out); /* the integers of 32 weights (quant/quant.h); NULL: a
                                             plain type, or a code that is a float's */
};

const struct dtype_info *dtype_info(enum dtype t);
int dtype_find(const char *name);   /* enum dtype, -1 when unknown */
int dtype_from_gguf(uint32_t type); /* enum dtype, -1 when not supported */
const char *dtype_gguf_name(
    uint32_t type); /* also of types that are not supported; NULL when no such type exists */
size_t dtype_row_bytes(enum dtype t, int64_t n); /* n a multiple of the block */
void dtype_decode(enum dtype t, const void *src, float *out, int64_t n);
const char *dtype_list(void); /* "f32 f16 ..." of all weight types, for messages */

#endif
