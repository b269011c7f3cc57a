/* pipeline.c - from a text between special tokens to tokens.
 *
 * Text that is no UTF-8 is cut at the bytes that are wrong: each is a word of its own, and what
 * follows goes on as if it had not been there. Everything behind this file sees valid UTF-8, which
 * PCRE2 relies on; only a model that asks for it gets texts as they are. */
#include "engine/text/pipeline.h"

#include "engine/text/normalizer.h"
#include "engine/text/regex.h"
#include "engine/text/special.h"
#include "engine/text/splitter.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

struct pipeline {
    const struct vocab *vocab;
    struct normalizer *normalizer;
    struct splitter *splitter;
    struct special special; /* the tokens that are looked for in normalised text */
    bool any_special, as_is, space_once;
    const struct word_model *model;
    void *state; /* the model's */
};

struct pipeline_run {
    const struct pipeline *p;
    struct regex_work *regex;
    struct normal_work normal;
    struct split_run *split;
    void *model;
    struct tokens *out;
    struct buf *words; /* instead of tokens, when not NULL */
};

static enum status add_normalized(struct pipeline *p)
{
    struct normal_work w = {.regex = regex_work_new()};
    special_init(&p->special, true);
    for (int32_t id = 0; id < p->vocab->n; id++) {
        if (!(p->vocab->added[id] & ADDED_NORMALIZED) || !special_is(p->vocab, id, true))
            continue;
        struct bytes text = vocab_piece(p->vocab, id);
        if (utf8_valid_prefix(text.p, text.n) == text.n)
            text = normalizer_run(p->normalizer, &w, text, false);
        special_add(&p->special, text, id);
        p->any_special = true;
    }
    regex_work_free(w.regex);
    normal_work_clear(&w);
    return OK;
}

enum status pipeline_open(const struct tokenizer_spec *spec, const struct vocab *v,
                          struct pipeline **out)
{
    static const struct {
        enum status (*open)(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
        const struct word_model *(*model)(void);
    } kind[] = {
        [WORD_BPE] = {bpe_open, bpe_model},
        [WORD_UNIGRAM] = {unigram_open, unigram_model},
        [WORD_PIECE] = {wordpiece_open, wordpiece_model},
        [WORD_LEVEL] = {wordlevel_open, wordlevel_model},
        [WORD_LONGEST] = {longest_open, longest_model},
        [WORD_PLAMO] = {plamo_open, plamo_model},
    };
    struct pipeline_spec *s = spec->pipeline;
    struct pipeline *p = xcalloc(1, sizeof *p);
    *out = p; /* the caller closes it whatever happens */
    p->vocab = v;
    p->normalizer = s->normalizer;
    p->splitter = s->splitter;
    p->as_is = s->as_is;
    p->space_once = spec->space_once;
    s->normalizer = NULL;
    s->splitter = NULL;
    p->model = kind[s->kind].model();
    TRY(add_normalized(p));
    return kind[s->kind].open(spec, v, &p->state);
}

void pipeline_close(struct pipeline *p)
{
    if (!p)
        return;
    p->model->close(p->state);
    normalizer_free(p->normalizer);
    splitter_free(p->splitter);
    special_clear(&p->special);
    xfree(p);
}

/* --- encoding --- */

static void take_word(void *to, struct bytes word)
{
    struct pipeline_run *r = to;
    if (r->words) {
        buf_append(r->words, word.p, word.n);
        buf_putc(r->words, 0);
        return;
    }
    r->p->model->word(r->model, word, r->out);
}

void *pipeline_begin(const struct pipeline *p, size_t text_bytes)
{
    struct pipeline_run *r = xcalloc(1, sizeof *r);
    r->p = p;
    r->regex = regex_work_new();
    r->normal.regex = r->regex;
    r->split = split_run_new(p->splitter, r->regex, take_word, r);
    r->model = p->model->begin(p->state, text_bytes);
    return r;
}

void pipeline_end(void *run)
{
    struct pipeline_run *r = run;
    r->p->model->end(r->model);
    split_run_free(r->split);
    normal_work_clear(&r->normal);
    regex_work_free(r->regex);
    xfree(r);
}

static enum status valid_text(struct pipeline_run *r, struct bytes text, bool control,
                              bool at_start, bool goes_on)
{
    const struct pipeline *p = r->p;
    text = normalizer_run(p->normalizer, &r->normal, text, goes_on || (p->space_once && !at_start));
    if (text.n > INT32_MAX / 4)
        return fail(ERR_TOO_LARGE, "a text that is normalised to %zu bytes is too long to encode",
                    text.n);
    struct special_hit hit;
    for (size_t from = 0; from < text.n; from = hit.end) {
        bool found =
            p->any_special && special_next(&p->special, p->vocab, text, from, control, &hit);
        if (!found)
            hit = (struct special_hit){-1, text.n, text.n};
        split_run_text(r->split, (struct bytes){text.p + from, hit.begin - from},
                       at_start && from == 0 && !r->normal.lost_head);
        if (found && r->out)
            tokens_push(r->out, hit.id);
    }
    return OK;
}

enum status pipeline_text(void *run, struct bytes text, unsigned flags, bool at_start,
                          struct tokens *out)
{
    struct pipeline_run *r = run;
    r->out = out;
    if (r->p->as_is) {
        take_word(r, text);
        return OK;
    }
    for (bool goes_on = false; text.n > 0; goes_on = true) {
        size_t valid = utf8_valid_prefix(text.p, text.n);
        if (valid > 0)
            TRY(valid_text(r, (struct bytes){text.p, valid}, flags & ENCODE_SPECIAL, at_start,
                           goes_on));
        if (valid < text.n)
            take_word(r, (struct bytes){text.p + valid, 1});
        valid += valid < text.n;
        text = (struct bytes){text.p + valid, text.n - valid};
        at_start = false;
    }
    return OK;
}

enum status pipeline_words(void *run, struct bytes text, struct buf *words)
{
    struct pipeline_run *r = run;
    r->words = words;
    enum status s = pipeline_text(run, text, 0, true, NULL);
    r->words = NULL;
    return s;
}
