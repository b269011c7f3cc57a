/* regex.c - PCRE2, with its limits handled here so that nobody else meets them.
 *
 * JIT code runs on a small stack first; a match that overflows it gets a large one, then the
 * interpreter, whose memory is the heap. What even that cannot do, or what takes more steps than
 * any honest pattern (they come with a file), is "not found", and stays so for this text: the
 * words then are longer, the bytes are all encoded. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/regex.h"

#include <pcre2.h>
#include <string.h>

#include "engine/text/onig.h"
#include "kernels/base/mem.h"

enum {
    SMALL_STACK = 32 << 10,
    LARGE_STACK = 64 << 20,
    HEAP_KIB = 1 << 20, /* of the interpreter: 1 GiB */
    MAX_STEPS = 200000000
};

struct regex {
    pcre2_code *code;
};
struct regex_work {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL until a match needed it */
    const struct regex *given_up;
};

enum status regex_new(struct bytes pattern, struct regex **out)
{
    int error;
    PCRE2_SIZE where;
    const uint32_t how =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, how, &error, &where, context);
    pcre2_compile_context_free(context);
    if (!code) {
        char why[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        return fail(ERR_FORMAT, "pattern '%.*s': %s at byte %zu",
                    (int)(pattern.n < 200 ? pattern.n : 200), pattern.p, why, where);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets */
    struct regex *r = xcalloc(1, sizeof *r);
    r->code = code;
    *out = r;
    return OK;
}

enum status regex_new_onig(struct bytes pattern, struct regex **out)
{
    struct buf translated = {0};
    enum status s = onig_translate(pattern, &translated);
    if (s == OK)
        s = regex_new((struct bytes){translated.data, translated.len}, out);
    buf_clear(&translated);
    return s;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    xfree(r);
}

struct regex_work *regex_work_new(void)
{
    struct regex_work *w = xcalloc(1, sizeof *w);
    w->match = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(w->context, MAX_STEPS);
    pcre2_set_depth_limit(w->context, UINT32_MAX);
    pcre2_set_heap_limit(w->context, HEAP_KIB);
    return w;
}

void regex_work_free(struct regex_work *w)
{
    if (!w)
        return;
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    xfree(w);
}

static int match(const struct regex *r, struct regex_work *w, struct bytes text, size_t from,
                 uint32_t how)
{
    return pcre2_match(r->code, (PCRE2_SPTR)text.p, text.n, from, PCRE2_NO_UTF_CHECK | how,
                       w->match, w->context);
}

bool regex_find(const struct regex *r, struct regex_work *w, struct bytes text, size_t from,
                size_t *begin, size_t *end)
{
    if (w->given_up == r)
        return false;
    int rc = match(r, w, text, from, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !w->stack) {
        w->stack = pcre2_jit_stack_create(SMALL_STACK, LARGE_STACK, NULL);
        pcre2_jit_stack_assign(w->context, NULL, w->stack);
        rc = match(r, w, text, from, 0);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = match(r, w, text, from, PCRE2_NO_JIT);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        w->given_up = r;
    if (rc < 0)
        return false;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->match);
    *begin = at[0] < from ? from : at[0]; /* \K in a lookahead can turn the two round */
    *end = at[1] < *begin ? *begin : at[1];
    return true;
}
