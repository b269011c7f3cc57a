/* ops.h - the op list: what every backend computes. The naive CPU version (kernels/cpu/naive.c)
 * defines each op.
 *
 * Call op_<name>(queue, &args). ops.c checks the contract (shapes, types, strides) for every
 * backend, then calls the backend's function; an op that a backend lacks (NULL) is composed from
 * others where a composition is defined here, else ERR_UNSUPPORTED names it. Ops are ordered by
 * their queue and may run later: args are copied, so pointers in them must point to device memory,
 * or to memory that stays as it is until the step's fence.
 *
 * R rows, H heads, D head size, K inputs, N outputs, V vocabulary, S sequences. Activations are f32
 * unless said. Every op fixes its order of summation by shape alone: a row's bits depend neither on
 * R, nor on other rows, nor on threads. (A CUDA device that was not opened as `deterministic`
 * multiplies many rows in another way than few; then they depend on R.) Rows at or beyond
 * ragged.live[0] (when live is given) are not computed and their outputs are unspecified. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/tensor.h"

struct queue;

/* Which sequence and position each row of a step has. All arrays in device memory; rows of a
 * sequence are contiguous and in order of position. */
struct ragged {
    int rows, seqs;           /* bucket sizes: all that a launch may depend on */
    const int32_t *live;      /* [2] rows and seqs really used; NULL: all */
    const int32_t *pos;       /* [rows] position in the sequence */
    const int32_t *row_seq;   /* [rows] index of the sequence in this step */
    const int32_t *seq_start; /* [seqs + 1] first row of each sequence */
    const int32_t
        *seq_slot; /* [seqs] slot of each sequence: row of the page table, of `last`, of `counts` */
    const int32_t *span; /* [rows] last position a row may see, for bidirectional spans; NULL:
                            causal (its own) */
    int longest;         /* every position is below; 0: below the end of the page table */
    bool singles;        /* no sequence has more than one row */
};

/* Keys and values of one layer in pages of `page_tokens` positions. Page p begins at base + p *
 * page_bytes; inside it, head after head: K [page_tokens, head_dim], then V [page_tokens,
 * head_dim], elements in the backend's own order (fp8 as kv_type.h has it). */
struct kv_view {
    void *base;
    uint8_t dtype; /* DT_F32, DT_BF16, or DT_F8_E4M3: fp8 (kv_type.h) */
    int page_tokens, n_head, head_dim;
    int64_t page_bytes; /* kv_page_bytes */
    const int32_t
        *table; /* device [slots, table_stride]: page number of each page_tokens positions */
    int table_stride;
    int window; /* 0: all earlier positions; else the last `window` ones, own position included */
};

/* y[r] = table[token[r]] as f32; token ~i (negative): row i of `rows`; token TOKEN_FROM_SLOT:
 * last[seq_slot[row_seq[r]]]. */
enum { TOKEN_FROM_SLOT = INT32_MIN };
struct op_embed {
    struct tensor table; /* [V, K] any weight type, LAYOUT_ROWS or the layout the backend packed */
    struct tensor rows;  /* [n, K] f32, optional */
    struct ragged r;
    const int32_t *token; /* [R] */
    const int32_t *last;  /* [slots], optional */
    struct tensor y;      /* [R, K] */
    float scale;          /* y *= scale; 1: none */
};

/* y = x / sqrt(mean(x^2) + eps) * weight, over the innermost dimension; x may be [R, K] or [R, H,
 * D]. y may be x. */
struct op_rmsnorm {
    struct tensor x, weight, y;
    float eps;
    const int32_t *live;
};

/* y = x W^T (+ bias) (+ add). Block formats quantise x in blocks of 32 (defined in
 * kernels/cpu/naive_linear.c); f32 and f16 weights take f32 x, bf16 weights take bf16-rounded x. */
struct op_linear {
    struct tensor x;    /* [R, K] */
    struct tensor w;    /* [N, K] any weight type; w.q: y = (x w^T) * global + bias + add */
    struct tensor bias; /* [N] f32, optional */
    struct tensor add;  /* [R, N] f32, optional; may be y itself, else apart from it */
    struct tensor y;    /* [R, N], row stride free */
    const int32_t *live;
};

/* h = rmsnorm(x); y = h W^T (+ bias), W the parts w[0] ... one below the other, as a weight whose
 * parts differ in type: composed of rmsnorm and linear. */
enum { NORM_LINEAR_PARTS = 3 };
struct op_norm_linear {
    struct tensor x, weight; /* [R, K], [K] */
    float eps;
    struct tensor h;                    /* [R, K], workspace: unspecified afterwards */
    struct tensor w[NORM_LINEAR_PARTS]; /* [N_i, K], as in op_linear */
    int n_parts;
    struct tensor bias, y; /* [N] optional, [R, N]: N the sum of all N_i */
    const int32_t *live;
};

/* Rotary embedding in place on the first 2 * n_freq elements of each head: angle = pos *
 * inv_freq[i], times `factor` on both sine and cosine. neox: pairs (i, i + n_freq); else pairs (2i,
 * 2i + 1). */
struct op_rope {
    struct tensor x; /* [R, H, D] */
    struct ragged r;
    const float *inv_freq; /* device [n_freq] */
    int n_freq;
    bool neox;
    float factor;
};

struct op_kv_write {    /* stores the rows' keys and values at their positions */
    struct tensor k, v; /* [R, H, D] */
    struct ragged r;
    struct kv_view kv;
};

/* Norm of each q and k head (optional), rope of q and k in place, store of k and v: composed of
 * rmsnorm, rope, kv_write. */
struct op_rope_kv {
    struct tensor q, k, v;        /* [R, H, D] views, usually of one [R, (Hq + 2 Hkv) D] tensor */
    struct tensor q_norm, k_norm; /* [D], optional */
    float eps;
    struct ragged r;
    const float *inv_freq;
    int n_freq;
    bool neox;
    float factor;
    struct kv_view kv;
};

/* y[r, h] = softmax(scale * q . K, softcap) V over positions of the row's sequence from max(0, pos
 * - window + 1) to pos (or span); query head h uses KV head h / (Hq / Hkv). The step's own keys are
 * already in kv. */
struct op_attention {
    struct tensor q; /* [R, Hq, D] */
    struct ragged r;
    struct kv_view kv;
    float scale, softcap; /* softcap 0: none; else c * tanh(s / c) */
    struct tensor sinks;  /* [Hq] f32 extra logits in the softmax, optional */
    struct tensor y;      /* [R, Hq, D] */
};

/* y = act(gate) * up, x = [R, gate F | up F]. */
enum act { ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_RELU };
struct op_glu {
    struct tensor x; /* [R, 2 F] */
    struct tensor y; /* [R, F] */
    enum act act;
    const int32_t *live;
};

/* h = act(gate) * up, x = [R, gate F | up F]; y = h W^T (+ bias) (+ add): composed of
 * glu and linear. */
struct op_glu_linear {
    struct tensor x; /* [R, 2 F] */
    struct tensor h; /* [R, F], workspace: what it holds afterwards is unspecified */
    enum act act;
    struct tensor w;            /* [N, F], as in op_linear */
    struct tensor bias, add, y; /* as in op_linear */
    const int32_t *live;
};

struct op_add {
    struct tensor a, b, y;
    const int32_t *live;
}; /* y = a + b, equal shapes; y may be a */

/* Short causal convolution, channel by channel, with what it remembers of each sequence:
 * y[r, c] = sum over j < k of w[c, j] * x[c] at position pos - (k - 1) + j. Inputs of earlier steps
 * come from `state`, which receives the last k - 1 inputs of each sequence; before position 0 they
 * are zero, whatever `state` holds. y may be x. */
enum { CONV1D_MAX = 16 };
struct op_conv1d {
    struct tensor x, y; /* [R, C] */
    struct tensor w;    /* [C, k] f32, k >= 2 */
    struct ragged r;
    float *state; /* device [slots, k - 1, C] */
};

struct op_gather { /* y[i] = x[index[i]] for i < n (live: first *n_live) */
    struct tensor x, y;
    const int32_t *index;  /* device [rows of y] */
    const int32_t *n_live; /* device [1]; NULL: all */
};

struct op_columns {       /* y[r][i] = x[r][index[i]]; y is not x */
    struct tensor x, y;   /* [R, K] f32 */
    const int32_t *index; /* device [K], each below K */
    const int32_t *live;
};

/* Choosing the next token, for each wanted row of logits. Order (as vLLM): logit_bias and bans,
 * mask, repetition (divide positive, multiply negative logits of tokens seen in prompt or output),
 * frequency and presence (of output), then log-probabilities for reports are taken; temperature;
 * top_k; top_p; min_p; one draw by inverse CDF over candidates in order of descending probability
 * (ties: smaller id first), u = uniform word 0 of philox(seed, counter). temperature 0: argmax,
 * smallest id on ties. */
enum { SAMPLE_TOP_MAX = 20 };
struct sample_row { /* 64 bytes, uploaded each step */
    int32_t slot;   /* -1: nothing to do for this row */
    int32_t forced; /* >= 0: this token is taken (scoring a prompt, replaying); -1: choose */
    uint64_t seed, counter; /* counter: position of the token to be chosen in its sequence */
    float temperature, top_p, min_p, presence, frequency,
        repetition; /* neutral: 1, 1, 0, 0, 0, 1 */
    int32_t top_k;  /* 0: off */
    int32_t n_top; /* log-probabilities wanted: -1 none, 0 the chosen one, n: and the n likeliest */
    int32_t bias_first, n_bias; /* span of op_sample.bias */
};
struct sample_bias {
    int32_t token;
    float add;
}; /* -INFINITY bans */
struct sample_out {
    int32_t token;
    float logprob; /* of `token`, natural logarithm, before temperature */
    int32_t n_top;
    int32_t rank; /* of `token` among the log-probabilities, 0 the likeliest */
    int32_t top_id[SAMPLE_TOP_MAX];
    float top_logprob[SAMPLE_TOP_MAX]; /* descending, ties by smaller id */
};
struct op_sample {
    struct tensor logits;           /* [W, V] f32; may be overwritten */
    const struct sample_row *row;   /* device [W] */
    const struct sample_bias *bias; /* device */
    const uint32_t *mask; /* device [W, ceil(V / 32)], bit set: allowed; NULL: all allowed */
    uint16_t *counts; /* device [slots, V]: low 15 bits: times in the output (saturating), bit 15:
                         in the prompt. Counts the chosen token too unless it was forced. NULL: no
                         penalties in this step */
    int32_t *last;    /* device [slots]: receives the chosen token of rows that are not forced */
    struct sample_out *out; /* device [W] */
    const int32_t *n_live;  /* device [1] rows really wanted; NULL: all */
};
/* counts of one slot from scratch: zero, then the first n_prompt tokens as prompt, the others as
 * output. */
struct op_count {
    uint16_t *counts; /* device: the slot's [V] */
    int64_t n_vocab;
    const int32_t *token; /* host memory, read at once */
    int n, n_prompt;
};

/* name, argument struct. struct ops, checks, test backends and counters are generated from this
 * list. */
/* clang-format off */
#define OP_LIST(X)                        \
    X(embed,       struct op_embed)       \
    X(rmsnorm,     struct op_rmsnorm)     \
    X(linear,      struct op_linear)      \
    X(norm_linear, struct op_norm_linear) \
    X(rope,        struct op_rope)        \
    X(kv_write,    struct op_kv_write)    \
    X(rope_kv,     struct op_rope_kv)     \
    X(attention,   struct op_attention)   \
    X(glu,         struct op_glu)         \
    X(glu_linear,  struct op_glu_linear)  \
    X(add,         struct op_add)         \
    X(conv1d,      struct op_conv1d)      \
    X(gather,      struct op_gather)      \
    X(columns,     struct op_columns)     \
    X(sample,      struct op_sample)      \
    X(count,       struct op_count)
/* clang-format on */

#define OP_ENUM(name, args) OP_##name,
enum op { OP_LIST(OP_ENUM) N_OP };
#undef OP_ENUM
const char *op_name(enum op op);

/* The product of part i of a composed op: columns of y. */
struct op_linear op_norm_linear_part(const struct op_norm_linear *a, int i);

/* Runs an op as the ones it is composed of; for backends too, which have it in some cases only. */
enum status op_compose(struct queue *q, enum op op, const void *args);

struct ops {
#define OP_POINTER(name, args) enum status (*name)(struct queue *, const args *);
    OP_LIST(OP_POINTER)
#undef OP_POINTER
};

#define OP_DECLARE(name, args) enum status op_##name(struct queue *q, const args *a);
OP_LIST(OP_DECLARE)
#undef OP_DECLARE

#endif
