/* fit.h - the least squares behind the encoders: a scale, a line, the scales of a super-block.
 *
 * Given x and weights w, find codes q of a set and factors so that the sum of w (x - d q - m)^2 is
 * small. With the codes known the best factors follow from sums; with the factors known the best
 * code of each x is the nearest. The fits go back and forth between the two from several starts:
 * no step makes the error larger, so they end in a (local) minimum.
 *
 * Vectors of eight floats are written out, in gcc's extension, because sums must have one order:
 * every build of this file computes the same bits, with whatever instructions it has. */
#ifndef KERNELS_QUANT_FIT_H
#define KERNELS_QUANT_FIT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/half.h"

typedef float fit_v __attribute__((vector_size(32)));
typedef int32_t fit_m __attribute__((vector_size(32)));

enum { FIT_LANES = 8, FIT_GROUPS_MOST = 16 };

#define FIT_FN static inline __attribute__((always_inline))

FIT_FN fit_v fit_select(fit_m m, fit_v a, fit_v b)
{
    return (fit_v)(((fit_m)a & m) | ((fit_m)b & ~m));
}

FIT_FN fit_v fit_min(fit_v a, fit_v b)
{
    return fit_select(a < b, a, b);
}

FIT_FN fit_v fit_max(fit_v a, fit_v b)
{
    return fit_select(a > b, a, b);
}

FIT_FN fit_v fit_abs(fit_v a)
{
    return (fit_v)((fit_m)a & 0x7fffffff);
}

FIT_FN float fit_sum(fit_v a)
{
    return ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7]));
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* What a code stands for: the whole numbers lo .. hi, or a table in ascending order. */
struct fit_codes {
    float lo, hi;
    const float *bound, *step; /* [n - 1] between neighbours: the middle, the difference; or NULL */
    int n;
};

/* The nearest value to each y, as a number. */
FIT_FN fit_v fit_nearest(const struct fit_codes *c, fit_v y)
{
    const fit_v magic =
        (fit_v){0} + 0x1.8p23f; /* adding it rounds to a whole number, half to even */
    const fit_v lo = (fit_v){0} + c->lo, hi = (fit_v){0} + c->hi;

    y = fit_max(fit_min(y, hi), lo);
    if (!c->bound)
        return (y + magic) - magic;
    fit_v q = lo;
    for (int i = 0; i < c->n - 1; i++)
        q += (fit_v)((y > (fit_v){0} + c->bound[i]) & (fit_m)((fit_v){0} + c->step[i]));
    return q;
}

/* ---- one group ------------------------------------------------------------------------------- */

struct fit_group { /* n vectors of x and their weights */
    const fit_v *x, *w;
    int n;
};

FIT_FN float fit_inverse(float d)
{
    return fabsf(d) > 0x1p-120f ? 1 / d : 0;
}

/* Error of the factors as they are, with the best codes. */
FIT_FN float fit_error(const struct fit_group *g, const struct fit_codes *c, float d, float m)
{
    float inv = fit_inverse(d);
    fit_v sum = {0};

    for (int i = 0; i < g->n; i++) {
        fit_v q = fit_nearest(c, (g->x[i] - m) * inv), e = g->x[i] - (d * q + m);

        sum += g->w[i] * e * e;
    }
    return fit_sum(sum);
}

/* Candidates for the scale: the value of largest magnitude becomes +-(first + i * step). */
struct fit_grid {
    float first, step;
    int n;
};

static float fit_top(const struct fit_group *g)
{
    fit_v top = {0};

    for (int i = 0; i < g->n; i++)
        top = fit_max(top, fit_abs(g->x[i]));
    for (int i = 1; i < FIT_LANES; i++)
        top[0] = top[i] > top[0] ? top[i] : top[0];
    return top[0];
}

/* Sums of w x q and w q^2 for the codes nearest to x * inv. */
FIT_FN void fit_probe(const struct fit_group *g, const struct fit_codes *c, float inv, float *xq,
                      float *qq)
{
    fit_v sxq = {0}, sqq = {0};

    for (int i = 0; i < g->n; i++) {
        fit_v q = fit_nearest(c, g->x[i] * inv), wq = g->w[i] * q;

        sxq += wq * g->x[i];
        sqq += wq * q;
    }
    *xq = fit_sum(sxq);
    *qq = fit_sum(sqq);
}

enum { FIT_REFINE = 3 };

/* The scale d of x = d q, of either sign where the codes are not symmetric. The error is what is
 * left of the sum of w x^2 when (sum w x q)^2 / sum w q^2 is taken away. */
FIT_FN float fit_scale(const struct fit_group *g, const struct fit_codes *c,
                       const struct fit_grid *grid)
{
    float top = fit_top(g), best = -1, d = 0, xq, qq;
    int signs = c->lo + c->hi != 0 ? 2 : 1;

    if (top < 0x1p-100f)
        return 0;
    for (int i = 0; i < signs * grid->n; i++) {
        float to = grid->first + grid->step * (float)(i / signs);

        fit_probe(g, c, (i % signs ? -to : to) / top, &xq, &qq);
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            d = xq / qq;
        }
    }
    for (int i = 0; i < FIT_REFINE; i++) {
        fit_probe(g, c, fit_inverse(d), &xq, &qq);
        if (!(qq > 0 && xq * xq > best * qq))
            break;
        best = xq * xq / qq;
        d = xq / qq;
    }
    return d;
}

struct fit_line { /* x = d q + m with whole q from 0 to top */
    float d, m;
};

struct fit_moments { /* sums of w, w x, w x^2, w q, w q^2, w q x */
    float w, x, xx, q, qq, qx;
};

/* The best line for given codes, and its error; m <= 0 where the format wants that. */
FIT_FN float fit_solve(const struct fit_moments *s, int negative, struct fit_line *out)
{
    float det = s->w * s->qq - s->q * s->q;
    float d = 0, m = s->w > 0 ? s->x / s->w : 0;

    if (det > 1e-6f * s->w * s->qq) {
        d = (s->w * s->qx - s->x * s->q) / det;
        m = (s->qq * s->x - s->q * s->qx) / det;
    }
    if (negative && (m > 0 || d < 0)) {
        m = 0;
        d = s->qq > 0 ? s->qx / s->qq : 0;
    }
    out->d = d;
    out->m = m;
    return s->xx + d * d * s->qq + m * m * s->w + 2 * (d * m * s->q - d * s->qx - m * s->x);
}

FIT_FN void fit_count(const struct fit_group *g, const struct fit_codes *c, struct fit_line l,
                      struct fit_moments *s)
{
    fit_v sq = {0}, sqq = {0}, sqx = {0};
    float inv = fit_inverse(l.d);

    for (int i = 0; i < g->n; i++) {
        fit_v q = fit_nearest(c, (g->x[i] - l.m) * inv), wq = g->w[i] * q;

        sq += wq;
        sqq += wq * q;
        sqx += wq * g->x[i];
    }
    s->q = fit_sum(sq);
    s->qq = fit_sum(sqq);
    s->qx = fit_sum(sqx);
}

static void fit_range(const struct fit_group *g, struct fit_moments *s, float *lo, float *hi)
{
    fit_v least = g->x[0], most = g->x[0], w = {0}, x = {0}, xx = {0};

    for (int i = 0; i < g->n; i++) {
        least = fit_min(least, g->x[i]);
        most = fit_max(most, g->x[i]);
        w += g->w[i];
        x += g->w[i] * g->x[i];
        xx += g->w[i] * g->x[i] * g->x[i];
    }
    for (int i = 1; i < FIT_LANES; i++) {
        least[0] = least[i] < least[0] ? least[i] : least[0];
        most[0] = most[i] > most[0] ? most[i] : most[0];
    }
    *lo = least[0];
    *hi = most[0];
    s->w = fit_sum(w);
    s->x = fit_sum(x);
    s->xx = fit_sum(xx);
}

/* The line through x, its ends drawn in by every pair of the grid's steps (of the range / top). */
FIT_FN struct fit_line fit_line(const struct fit_group *g, const struct fit_codes *c, int negative,
                                const struct fit_grid *grid)
{
    struct fit_line best = {0, 0}, l, at;
    struct fit_moments s;
    float lo, hi, least = INFINITY;

    fit_range(g, &s, &lo, &hi);
    if (negative && lo > 0)
        lo = 0;
    best.m = lo;
    if (hi - lo < 0x1p-100f)
        return best;
    for (int i = 0; i < grid->n * grid->n; i++) {
        float unit = (hi - lo) / c->hi;
        float a = unit * (grid->first + grid->step * (float)(i / grid->n));
        float b = unit * (grid->first + grid->step * (float)(i % grid->n));

        at.m = negative && lo + a > 0 ? 0 : lo + a;
        at.d = (hi - b - at.m) / c->hi;
        fit_count(g, c, at, &s);
        float e = fit_solve(&s, negative, &l);
        if (e < least) {
            least = e;
            best = l;
        }
    }
    for (int i = 0; i < FIT_REFINE; i++) {
        fit_count(g, c, best, &s);
        float e = fit_solve(&s, negative, &l);
        if (!(e < least))
            break;
        least = e;
        best = l;
    }
    return best;
}

/* ---- a super-block --------------------------------------------------------------------------- */

/* Groups whose scales (and minima) are small whole numbers times one d (and one dmin):
 * x = d sc q - dmin mn. */
struct fit_format {
    struct fit_codes codes;
    int groups, vectors;      /* vectors of a group */
    int sc_least, sc_most;    /* of sc */
    int mn_most;              /* of mn; 0: there are no minima */
    struct fit_grid grid;     /* for each group alone */
    int starts, rounds, near; /* values of d tried first; rounds of improvement; how far sc moves */
};

struct fit_super {
    float d, dmin; /* as f16 holds them */
    int sc[FIT_GROUPS_MOST], mn[FIT_GROUPS_MOST];
    float error[FIT_GROUPS_MOST], total;
};

/* The nearest f16 that is a number. */
FIT_FN float fit_f16(float x)
{
    const float most = 65504;
    float near = half_f16(half_to_f16(x));

    return near > most ? most : near < -most ? -most : near;
}

FIT_FN int fit_clamp(float x, int lo, int hi)
{
    float r = rintf(x);

    return r < (float)lo ? lo : r > (float)hi ? hi : (int)r;
}

FIT_FN struct fit_group fit_part(const struct fit_format *f, const fit_v *x, const fit_v *w, int j)
{
    return (struct fit_group){x + j * f->vectors, w + j * f->vectors, f->vectors};
}

/* Tries sc and mn around what group j has and keeps the best. */
FIT_FN void fit_move(const struct fit_format *f, const struct fit_group *g, int j,
                     struct fit_super *s)
{
    int sc0 = s->sc[j], mn0 = s->mn[j], r = f->near, rm = f->mn_most ? f->near : 0;

    s->error[j] = INFINITY;
    for (int sc = sc0 - r; sc <= sc0 + r; sc++) {
        for (int mn = mn0 - rm; mn <= mn0 + rm; mn++) {
            if (sc < f->sc_least || sc > f->sc_most || mn < 0 || mn > f->mn_most)
                continue;
            float e = fit_error(g, &f->codes, s->d * (float)sc, -(s->dmin * (float)mn));
            if (e < s->error[j]) {
                s->error[j] = e;
                s->sc[j] = sc;
                s->mn[j] = mn;
            }
        }
    }
}

static void fit_moves(const struct fit_format *f, const fit_v *x, const fit_v *w,
                      struct fit_super *s)
{
    s->total = 0;
    for (int j = 0; j < f->groups; j++) {
        struct fit_group g = fit_part(f, x, w, j);

        fit_move(f, &g, j, s);
        s->total += s->error[j];
    }
}

/* d and dmin by least squares over all groups, with sc, mn and the codes as they are. */
static void fit_resolve(const struct fit_format *f, const fit_v *x, const fit_v *w,
                        struct fit_super *s)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0; /* a = sc q, b = -mn */

    for (int j = 0; j < f->groups; j++) {
        struct fit_group g = fit_part(f, x, w, j);
        struct fit_moments t = {0};
        float lo, hi;
        double sc = s->sc[j], mn = s->mn[j];
        struct fit_line l = {s->d * (float)s->sc[j], -(s->dmin * (float)s->mn[j])};

        fit_range(&g, &t, &lo, &hi);
        fit_count(&g, &f->codes, l, &t);
        aa += sc * sc * (double)t.qq;
        ab -= sc * mn * (double)t.q;
        bb += mn * mn * (double)t.w;
        ax += sc * (double)t.qx;
        bx -= mn * (double)t.x;
    }
    double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb) {
        s->d = fit_f16((float)((ax * bb - bx * ab) / det));
        s->dmin = fit_f16((float)((bx * aa - ax * ab) / det));
    } else if (aa > 0) {
        s->d = fit_f16((float)((ax - s->dmin * ab) / aa));
    }
}

/* sc and mn of all groups from their own fits, for d = the largest scale / `most`. */
static void fit_begin(const struct fit_format *f, const struct fit_line *own, int start,
                      struct fit_super *s)
{
    float scale = 0, min = 0;
    float most = (float)(f->sc_least < 0 ? f->sc_least : f->sc_most); /* the side that has more */

    for (int j = 0; j < f->groups; j++) {
        scale = fabsf(own[j].d) > fabsf(scale) ? own[j].d : scale;
        min = own[j].m < min ? own[j].m : min;
    }
    most = most < 0 ? most + (float)start : most - (float)start;
    s->d = fit_f16(scale / most);
    s->dmin = f->mn_most ? fit_f16(-min / ((float)f->mn_most - (float)start)) : 0;
    for (int j = 0; j < f->groups; j++) {
        s->sc[j] = fit_clamp(own[j].d * fit_inverse(s->d), f->sc_least, f->sc_most);
        s->mn[j] = fit_clamp(-own[j].m * fit_inverse(s->dmin), 0, f->mn_most);
    }
}

static void fit_super(const struct fit_format *f, const fit_v *x, const fit_v *w,
                      struct fit_super *best)
{
    struct fit_line own[FIT_GROUPS_MOST];

    for (int j = 0; j < f->groups; j++) {
        struct fit_group g = fit_part(f, x, w, j);

        own[j] = f->mn_most ? fit_line(&g, &f->codes, 1, &f->grid)
                            : (struct fit_line){fit_scale(&g, &f->codes, &f->grid), 0};
    }
    best->total = INFINITY;
    for (int start = 0; start < f->starts; start++) {
        struct fit_super s;

        fit_begin(f, own, start, &s);
        fit_moves(f, x, w, &s);
        if (s.total < best->total)
            *best = s;
    }
    for (int round = 0; round < f->rounds; round++) {
        struct fit_super s = *best;

        fit_resolve(f, x, w, &s);
        fit_moves(f, x, w, &s);
        if (!(s.total < best->total))
            break;
        *best = s;
    }
}

/* The codes of a group as numbers; n of them. */
FIT_FN void fit_codes_of(const struct fit_group *g, const struct fit_codes *c, float d, float m,
                         float *q)
{
    float inv = fit_inverse(d);

    for (int i = 0; i < g->n; i++) {
        fit_v v = fit_nearest(c, (g->x[i] - m) * inv);

        memcpy(q + i * FIT_LANES, &v, sizeof v);
    }
}

#endif
