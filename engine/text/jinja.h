/* jinja.h - one run of the template interpreter: its memory, its limits, and how it fails.
 *
 * Everything a run makes lies in one arena and dies with it, so an error anywhere may leave by
 * longjmp to the single setjmp in template.c: no function below returns a status, none can leak,
 * and the code reads like the Python whose meaning it keeps. Invariant: between setjmp and its
 * return no memory is owned outside the arena and the caller's output buffer. Work is bounded four
 * ways: steps (each node, and bulk work by size), nesting depth, bytes written, bytes of arena. A
 * run belongs to one thread. */
#ifndef ENGINE_TEXT_JINJA_H
#define ENGINE_TEXT_JINJA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct jscope;
struct jval;
struct jnames;

struct jinja {
    struct arena arena;
    struct buf *out;  /* captures nest in it: what a block wrote is cut off its end again */
    size_t out_start; /* length of *out when the run began */
    size_t max_output, steps, max_steps;
    int depth, max_depth;
    int line; /* of the statement or expression at work, for messages */
    long long now;
    jmp_buf fail;
    struct jval *globals; /* by name id: what the caller passed in, then the built-in functions */
    struct jval *root;    /* by name id: what the template set at top level; hides globals */
    const struct jnames *names;
    struct jscope *scope; /* innermost scope at work; NULL at top level */
};

/* Ends the run with ERR_TEMPLATE and "line N: message". */
_Noreturn void jinja_raise(struct jinja *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends the run with the message as it is. */
_Noreturn void jinja_raise_text(struct jinja *j, const char *s, size_t n);

void *jinja_alloc(struct jinja *j, size_t bytes);                /* never NULL */
void *jinja_array(struct jinja *j, size_t n, size_t item_bytes); /* checked product */
void jinja_charge(struct jinja *j, size_t steps); /* counts work; raises at the limit */
void jinja_enter(struct jinja *j);                /* one level deeper; raises at the limit */
void jinja_leave(struct jinja *j);

/* Writes to the output; raises above max_output. */
void jinja_write(struct jinja *j, const char *s, size_t n);

#endif
