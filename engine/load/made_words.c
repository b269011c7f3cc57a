/* made_words.c - packed whole numbers straight into blocks: what takes the time when a checkpoint
 * of GPTQ, AWQ or compressed-tensors is loaded, where made.c's way over floats writes four bytes
 * for each half byte that it reads.
 *
 * A block's 32 codes are `bits` whole words. They become a byte each; zero points are taken off
 * modulo 256, which is exact: codes less their zero points fit the format (finish, in made_ints.c,
 * chose it so). AWQ's words hold eight columns of one k; eight of them turned over are eight k of
 * one column, as GPTQ has them. Inner loops have fixed lengths, so that compilers use vectors. */
#include "engine/load/made.h"

#include <string.h>

#include "engine/load/safetensors.h"
#include "kernels/half.h"

enum { WIDE = 128, BLOCK = 32, COLUMNS = WIDE / 8, FEW = 4 };

static const uint8_t awq_column[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* of each nibble */

/* Blocks that are made together: of WIDE rows the same block, or, where a row's codes lie together,
 * up to WIDE blocks of a row. */
struct strip {
    const struct packed *w;
    const unsigned char *bytes; /* of the first block */
    int count;                  /* blocks */
    size_t step, next;          /* bytes from a word to the next, and from a block to the next */
    const uint16_t *half;       /* [count]: scales */
    const uint8_t *add;         /* [count]: what makes of a code what the block holds */
    uint8_t *out;
    size_t out_next; /* bytes from a block to the next */
};

/* Scales and zero points of some rows, as strips take them. */
struct lots {
    int64_t first;
    int count;
    uint16_t *half; /* [n_groups, count] */
    uint8_t *add;
};

bool made_is_straight(const struct made *m, enum dtype t)
{
    const struct packed *w = &m->code;

    return w->t && !m->order && !m->g_idx && !m->before &&
           (w->awq || w->t->type_number == ST_I8 || w->by_rows == w->k_rows) &&
           (t == DT_Q4_0 || t == DT_Q5_0 || t == DT_Q8_0);
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* Each nibble in a byte. */
static void spread(const uint8_t *restrict nibbles, uint8_t *restrict out)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        out[2 * i] = nibbles[i] & 15;
        out[2 * i + 1] = nibbles[i] >> 4;
    }
}

/* A block's codes of any width. */
static void take_any(const unsigned char *p, size_t step, int bits, uint8_t *out)
{
    uint64_t have = 0;

    for (int i = 0, left = 0; i < BLOCK; i++, left -= bits, have >>= bits) {
        if (left < bits) {
            have |= (uint64_t)made_word(p) << left;
            left += 32;
            p += step;
        }
        out[i] = (uint8_t)(have & ((1u << bits) - 1));
    }
}

static void take_run(const struct strip *s, uint8_t code[WIDE][BLOCK])
{
    const unsigned char *p = s->bytes;
    uint32_t word[WIDE][4];

    for (int i = 0; i < 4 && s->w->bits == 4; i++) {
        for (int n = 0; n < s->count; n++)
            word[n][i] = made_word(p + (size_t)i * s->step + (size_t)n * s->next);
    }
    for (int n = 0; n < s->count && s->w->bits == 4; n++)
        spread((const uint8_t *)word[n], code[n]);
    for (int n = 0; n < s->count && s->w->bits == 8; n++) {
        for (int i = 0; i < 8; i++)
            memcpy(code[n] + 4 * i, p + (size_t)i * s->step + (size_t)n * s->next, 4);
    }
    for (int n = 0; n < s->count && s->w->bits != 4 && s->w->bits != 8; n++)
        take_any(p + (size_t)n * s->next, s->step, s->w->bits, code[n]);
}

/* Of each pair of words: the low field of every two (as mask says) of both into a, the high into
 * b. */
static void exchange(uint32_t *restrict a, uint32_t *restrict b, int shift, uint32_t mask)
{
    for (int i = 0; i < COLUMNS; i++) {
        uint32_t low = (a[i] & mask) | (b[i] & mask) << shift;

        b[i] = (a[i] >> shift & mask) | (b[i] & mask << shift);
        a[i] = low;
    }
}

/* Nibble j of word i becomes nibble i of word j. */
static void turn(uint32_t word[8][COLUMNS])
{
    for (int i = 0; i < 4; i++)
        exchange(word[i], word[i + 4], 16, 0x0000ffff);
    for (int i = 0; i < 4; i++)
        exchange(word[i / 2 * 4 + i % 2], word[i / 2 * 4 + i % 2 + 2], 8, 0x00ff00ff);
    for (int i = 0; i < 4; i++)
        exchange(word[2 * i], word[2 * i + 1], 4, 0x0f0f0f0f);
}

static void take_awq(const struct strip *s, uint8_t code[WIDE][BLOCK])
{
    size_t bytes = (size_t)s->count / 2; /* of a k; rows are a multiple of eight */
    const unsigned char *p = s->bytes;
    uint32_t turned[8][COLUMNS] = {0}, word[WIDE][4];

    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 8; k++, p += s->step) {
            if (s->count == WIDE)
                memcpy(turned[k], p, sizeof turned[k]);
            else
                memcpy(turned[k], p, bytes);
        }
        turn(turned);
        for (int nibble = 0; nibble < 8; nibble++) {
            for (int n = 0; n < COLUMNS; n++)
                word[n * 8 + awq_column[nibble]][i] = turned[nibble][n];
        }
    }
    for (int n = 0; n < s->count; n++)
        spread((const uint8_t *)word[n], code[n]);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The fifth bits of eight bytes. */
static uint32_t fifth_bits(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof x);
    return (uint32_t)((x >> 4 & 0x0101010101010101u) * 0x0102040810204080u >> 56);
}

static void put_nibbles(const uint8_t *restrict x, uint8_t *restrict out)
{
    for (int i = 0; i < BLOCK / 2; i++)
        out[i] = (uint8_t)((x[i] & 15) | x[i + BLOCK / 2] << 4);
}

static void put_block(enum dtype t, uint16_t half, uint8_t add, const uint8_t *restrict code,
                      uint8_t *restrict out)
{
    uint8_t x[BLOCK];

    for (int i = 0; i < BLOCK; i++)
        x[i] = (uint8_t)(code[i] + add);
    memcpy(out, &half, sizeof half);
    if (t == DT_Q4_0) {
        put_nibbles(x, out + 2);
    } else if (t == DT_Q5_0) {
        uint32_t high = fifth_bits(x) | fifth_bits(x + 8) << 8 | fifth_bits(x + 16) << 16 |
                        fifth_bits(x + 24) << 24;

        memcpy(out + 2, &high, sizeof high);
        put_nibbles(x, out + 6);
    } else {
        memcpy(out + 2, x, BLOCK);
    }
}

static void put_strip(const struct strip *s, enum dtype t)
{
    uint8_t taken[WIDE][BLOCK], *out = s->out;
    const uint8_t *code = taken[0];

    if (s->w->awq)
        take_awq(s, taken);
    else if (s->w->bits == 8 && s->step == 4)
        code = s->bytes; /* they are bytes as they lie */
    else
        take_run(s, taken);
    for (int n = 0; n < s->count; n++, out += s->out_next, code += BLOCK)
        put_block(t, s->half[n], s->add[n], code, out);
}

/* ---- strips ---------------------------------------------------------------------------------- */

/* made_scale, without asking for the type each time where there are many. */
static void look_scales(const struct checkpoint *c, const struct made *m, struct lots *l)
{
    uint32_t type = m->scale ? m->scale->type_number : ST_F32;
    bool f16 = type == ST_F16, plain = (f16 || type == ST_BF16) && m->scale_n == 1;
    int64_t row = m->scale_k_rows ? 1 : m->scale_step, column = m->scale_k_rows ? m->n : 1;

    for (int64_t g = 0; g < m->n_groups; g++) {
        for (int n = 0; n < l->count; n++) {
            uint16_t *half = &l->half[g * l->count + n];

            if (plain) {
                memcpy(half, made_bytes(c, m->scale) + 2 * ((l->first + n) * row + g * column), 2);
                if (!f16 || m->scale_by != 1 || m->up != 1)
                    *half = half_to_f16((f16 ? half_f16(*half) : half_bf16(*half)) * m->scale_by *
                                        m->up);
            } else {
                *half = half_to_f16(made_scale(c, m, l->first + n, g));
            }
        }
    }
}

/* Scales, and the format's zero less the weight's (q8_0 and int8 have signs: theirs is 0); false: a
 * scale is no number of f16. */
static bool look_groups(const struct checkpoint *c, const struct made *m, enum dtype t,
                        struct lots *l)
{
    float *zero = xmalloc((size_t)m->n_groups * sizeof *zero);
    int middle = t == DT_Q4_0 ? 8 : t == DT_Q5_0 ? 16 : 0;
    bool fits = true;

    look_scales(c, m, l);
    middle -= m->bias;
    for (int n = 0; n < l->count; n++) {
        if (m->zero.t)
            made_codes(c, &m->zero, l->first + n, m->n_groups, zero);
        for (int64_t g = 0; g < m->n_groups; g++) {
            fits = fits && (l->half[g * l->count + n] & 0x7c00) != 0x7c00;
            l->add[g * l->count + n] = (uint8_t)(middle - (m->zero.t ? (int)zero[g] : 0));
        }
    }
    xfree(zero);
    return fits;
}

/* Codes of several rows lie together: block after block of all rows. */
static void fill_across(const struct made *m, const struct lots *l, enum dtype t, struct strip s)
{
    size_t row = (size_t)m->code.t->shape[1] * 4;                            /* bytes, of words */
    size_t row_bytes = dtype_row_bytes(t, m->k), lies = m->code.awq ? 1 : 8; /* nibbles */
    const unsigned char *bytes = s.bytes + (size_t)l->first * lies / 2;
    uint8_t *out = s.out;

    s.step = row;
    s.next = 4;
    s.out_next = row_bytes;
    for (int64_t k = 0; k < m->k; k += BLOCK) {
        for (int n = 0; n < l->count; n += WIDE) {
            int64_t lot = k / m->group * l->count + n;

            s.count = l->count - n < WIDE ? l->count - n : WIDE;
            s.bytes = bytes + (size_t)n * lies / 2;
            s.out = out + (size_t)n * row_bytes;
            s.half = l->half + lot;
            s.add = l->add + lot;
            put_strip(&s, t);
        }
        out += dtype_info(t)->bytes;
        bytes += (size_t)(m->code.awq ? BLOCK : m->code.bits) * row;
    }
}

/* Codes of a row lie together: row after row. */
static void fill_along(const struct made *m, const struct lots *l, enum dtype t, struct strip s)
{
    size_t block = (size_t)m->code.bits * 4;
    int64_t blocks = m->k / BLOCK;
    uint16_t half[WIDE];
    uint8_t add[WIDE];

    s.step = 4;
    s.next = block;
    s.bytes += (size_t)(l->first * blocks) * block;
    s.out_next = (size_t)dtype_info(t)->bytes;
    s.half = half;
    s.add = add;
    for (int n = 0; n < l->count; n++) {
        for (int64_t i = 0; i < blocks; i += s.count) {
            s.count = blocks - i < WIDE ? (int)(blocks - i) : WIDE;
            for (int b = 0; b < s.count; b++) {
                int64_t lot = (i + b) * BLOCK / m->group * l->count + n;

                half[b] = l->half[lot];
                add[b] = l->add[lot];
            }
            put_strip(&s, t);
            s.out += (size_t)s.count * s.out_next;
            s.bytes += (size_t)s.count * block;
        }
    }
}

/* AWQ has half a byte a row in each page: more rows at a time, where that leaves some for all. */
int made_straight_rows(const struct made *m, int threads)
{
    return m->code.awq && m->n >= (int64_t)FEW * WIDE * threads ? FEW * WIDE : WIDE;
}

bool made_straight(const struct checkpoint *c, const struct made *m, enum dtype t, int64_t first,
                   int count, uint8_t *out)
{
    struct strip s = {.w = &m->code, .bytes = made_bytes(c, m->code.t), .out = out};
    struct lots l = {.first = first, .count = count};
    size_t groups = (size_t)m->n_groups * (size_t)count;
    bool fits;

    l.half = xmalloc(groups * sizeof *l.half);
    l.add = xmalloc(groups * sizeof *l.add);
    fits = look_groups(c, m, t, &l);
    if (m->code.by_rows || m->code.awq)
        fill_across(m, &l, t, s);
    else
        fill_along(m, &l, t, s);
    xfree(l.half);
    xfree(l.add);
    return fits;
}
