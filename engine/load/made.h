/* made.h - weights that lie in a checkpoint in another library's packing, and are turned into one
 * of our number formats, row by row, when they are loaded.
 *
 * Every such packing is read as  w = code * scale  with a whole number or a table's value for a
 * code, and one scale for `group` weights along K. Where the codes fit, the result is a block
 * format and says the same to the last bit:
 *
 *   code -8 .. 7       q4_0        any group that is a multiple of 32
 *   code -16 .. 15     q5_0        (4 bits less a zero point of 4 bits are 5 with a sign)
 *   code -128 .. 127   q8_0
 *   FP8 (E4M3)         f8_e4m3, groups that are multiples of 64
 *   bitsandbytes' nf4  nf4
 *   all others         f16, the product rounded once: 2^-12 of it
 *
 * Where groups are scattered over K (GPTQ's desc_act) columns are sorted by group, and
 * ckpt_tensor.order says which is which.
 *
 * A block's scale is f16. Scales of type f16 are kept; of bf16 they are as long as they are at
 * least 2^-25 (ckpt_tensor.global moves the range of f16 down by 2^8); of f32 they round by 2^-12.
 * Where the inputs are to be multiplied by a vector first (ModelOpt's pre_quant_scale) the columns
 * are instead, in f16.
 * MXFP4 and NVFP4 keep their own formats. f8_e4m3 and nf4 have scales in f32; a device without
 * kernels for them gets f16 (repack.c). */
#ifndef ENGINE_LOAD_MADE_H
#define ENGINE_LOAD_MADE_H

#include <string.h>

#include "engine/load/checkpoint.h"

enum { MADE_PARTS = 8, MADE_GROUPS = 16 /* of config_groups that are looked at */ };

/* Small codes in words of 32 bits, dense from the lowest bit, along one dimension of a matrix. */
struct packed {
    const struct ckpt_tensor *t; /* NULL: there is none */
    int bits;
    bool k_rows;  /* t is [K, N], else [N, K] */
    bool by_rows; /* packed along the first dimension, else the second */
    bool awq;     /* of eight columns the i-th is nibble (0, 4, 1, 5, 2, 6, 3, 7)[i] */
    bool less;    /* one was taken off each: of whole words, or, where codes cross words, of each */
};

struct scheme;
struct made { /* of one weight [n, k]; lies in the checkpoint's arena */
    const struct scheme *scheme;
    /* In the scheme's order; [0] is the one that was met. */
    const struct ckpt_tensor *part[MADE_PARTS];
    int64_t n, k;
    int64_t group, n_groups; /* weights along K that share a scale; the last group may be short */
    struct packed code, zero;
    int bias; /* code - zero - bias is the number; zero counts as 0 where absent */
    const struct ckpt_tensor *scale; /* NULL: 1 */
    bool scale_k_rows;               /* [groups, N], else [N, groups] */
    int64_t scale_step;              /* of the latter, scales from a row to the next */
    int64_t scale_n;                 /* rows of N that share a scale */
    float scale_by;                  /* a scale of the file times this is the weight's */
    const struct ckpt_tensor *g_idx; /* [K]: the group of each k; NULL: k / group, after `order` */
    const struct ckpt_tensor *sorted_by; /* the g_idx that `order` came from */
    const struct ckpt_tensor *before; /* [K]: what inputs are multiplied by first; NULL: nothing */
    int32_t *order;              /* [K]: which input each column of the result is; NULL: its own */
    int64_t block, nested_block; /* bitsandbytes: weights and absmax that share a scale */
    float offset;                /* and what nested scales lack */
    float up; /* scales are multiplied by it: 1 / ckpt_tensor.global where that moves f16's range */
};

/* Rows first .. first + count as codes and scales. */
struct made_rows {
    float *code;  /* [count, k] */
    float *scale; /* [count, n_groups] */
};

struct scheme {
    const char *name; /* for messages: "gptq" */
    /* Suffixes of the tensors' names; [0] gives the weight its name, minus this. */
    const char *part[MADE_PARTS];
    int needed;         /* so many of the parts must be there */
    const char *method; /* hf_quant.c's name of the checkpoint's packing; NULL: any */
    int type, scale;    /* enum st_type of part 0 and of part 1; scale -1: any */
    bool bare;          /* the weight's name has no ".weight" */
    /* Checks the parts and fills `m` and t's shape, dtype and global. */
    enum status (*look)(struct checkpoint *c, struct made *m, struct ckpt_tensor *t);
    void (*rows)(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                 struct made_rows *out);
    /* For results of other formats than f16: row i, in the result's own blocks; false: it holds
     * what is no number. */
    bool (*blocks)(const struct checkpoint *c, const struct made *m, int64_t i, uint8_t *out);
};

extern const struct scheme made_exl2;       /* in made_ints */
extern const struct scheme made_awq_marlin; /* look_awq's, for Marlin */
/* up to a NULL */
extern const struct scheme *const made_ints[], *const made_ordered[], *const made_floats[];

/* For schemes. A number of the quantization_config, or `absent`. */
double made_config(const struct checkpoint *c, const char *key, double absent);
/* Its text in lower case, cut at `size`; "" where it is none. */
const char *made_config_text(const struct checkpoint *c, const char *key, char *out, size_t size);
/* The i-th group of config_groups that has weights, as keys begin: "quantization_config.
 * config_groups.group_0.", whatever it is called. false: there are not so many. */
bool made_group(const struct checkpoint *c, int i, char *out, size_t size);
/* AutoRound's packing_format, which older versions call backend; their default where neither is. */
const char *made_auto_round(const struct checkpoint *c, char *out, size_t size);
/* 32 bits of packed numbers, at any address. */
static inline uint32_t made_word(const unsigned char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}
const unsigned char *made_bytes(const struct checkpoint *c, const struct ckpt_tensor *t);
/* Element i, of the float types, E4M3, E8M0 and whole numbers. */
float made_number(const struct checkpoint *c, const struct ckpt_tensor *t, int64_t i);
float made_fp8(uint32_t type, unsigned code); /* ST_F8_E4M3 or ST_F8_E5M2 */
int64_t made_count(const struct ckpt_tensor *t);
bool made_is_float(const struct ckpt_tensor *t);
/* Codes of so many bits one after the other in words that lie `step` bytes apart. */
void made_run(const unsigned char *p, size_t step, int bits, int64_t count, float *out);
/* Elements (n, 0), (n, 1) ... of `count` along K (or along groups, for zeros) as numbers. */
void made_codes(const struct checkpoint *c, const struct packed *w, int64_t n, int64_t count,
                float *out);
/* The scales are `t`: one, or [n / scale_n, groups] (or its transpose); sets the group. */
enum status made_scales(struct made *m, const struct ckpt_tensor *t);
/* The result's format for codes in lo .. hi. */
void made_fit(struct made *m, double lo, double hi, struct ckpt_tensor *t);
/* Sorts the columns by g_idx: where the groups then are even `order` takes its place. */
enum status made_sort(struct checkpoint *c, struct made *m);
float made_scale(const struct checkpoint *c, const struct made *m, int64_t row, int64_t group);
void made_read_scales(const struct checkpoint *c, const struct made *m, int64_t row, float *out);
/* Can made_straight make it? It gives what codes and scales would, many times faster. */
bool made_is_straight(const struct made *m, enum dtype t);
/* How many rows it is best given at a time by so many threads; a multiple of 8. */
int made_straight_rows(const struct made *m, int threads);
/* Rows first .. first + count, both multiples of 8 but at the end, as blocks of t; false: a scale
 * is out of range. */
bool made_straight(const struct checkpoint *c, const struct made *m, enum dtype t, int64_t first,
                   int count, uint8_t *out);
enum status made_fill(const struct checkpoint *c, const struct ckpt_tensor *t, void *out);

#endif
