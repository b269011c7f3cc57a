/* floor.h - what most tests of the api floor begin with: an api over the fake engine, and scripts.
 */
#ifndef TESTS_API_FAKE_FLOOR_H
#define TESTS_API_FAKE_FLOOR_H

#include "tests/api/fake/client.h"
#include "tests/api/fake/fake_engine.h"

#define TEXT(i, s)                                                                                 \
    {                                                                                              \
        .kind = EVENT_TEXT, .choice = (i), .text = { s, sizeof s - 1 }                             \
    }
#define FINISH(i, r)                                                                               \
    {                                                                                              \
        .kind = EVENT_FINISH, .choice = (i), .reason = (r)                                         \
    }
#define DONE                                                                                       \
    {                                                                                              \
        .kind = EVENT_DONE, .usage = {.cached = 3 }                                                \
    }
#define SCRIPT(s) fake_script(s, sizeof s / sizeof *s)

/* A fresh fake engine whose jobs say "Hi" and stop, and an api over it. Log lines are kept. */
struct api *floor_open(const struct api_options *o); /* NULL: version "1.2", open to all */
void floor_script(void);                             /* that script once more, after a fake_reset */
void floor_close(struct api *a);
const char *floor_log(void); /* every line since floor_open, each ended by a line feed */

#endif
