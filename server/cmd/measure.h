/* measure.h - a text's perplexity as the work of a command: for `perplexity` and `imatrix`. */
#ifndef SERVER_CMD_MEASURE_H
#define SERVER_CMD_MEASURE_H

#include "engine/perplexity.h"
#include "server/cmd/work.h"
#include "server/config.h"

struct measure {
    const struct config *c;
    struct work work;
    struct perplexity_options o;
    struct perplexity_result result;
};

/* Fills `m` from the options of the command line; more may be set before it runs. */
void measure_init(struct measure *m, const struct config *c);
/* Reads the text and runs. The failure's message is this thread's last. */
enum status measure_run(struct measure *m);

#endif
