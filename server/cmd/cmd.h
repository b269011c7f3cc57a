/* cmd.h - the commands: one function in one file each, and rows in cmd.c. */
#ifndef SERVER_CMD_CMD_H
#define SERVER_CMD_CMD_H

#include "engine/engine.h"
#include "server/config.h"

/* What a command returns and the process exits with. */
enum exit_code {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,    /* it could not be done; the reason was printed */
    EXIT_USAGE = 2,  /* wrong options */
    EXIT_FAULT = 70, /* the device broke while it served: start anew, perhaps elsewhere */
    EXIT_NOW = 256,  /* added to a code: leave without waiting for other threads */
};

/* Picks the command that argv names, reads its options, runs it. Returns an exit_code. */
int cmd_run(int argc, char **argv);

int cmd_serve(const struct config *c);
int cmd_chat(const struct config *c);
int cmd_inspect(const struct config *c);
int cmd_plan(const struct config *c);
int cmd_tokenize(const struct config *c);
int cmd_render(const struct config *c);
int cmd_bench(const struct config *c);
int cmd_health(const struct config *c);
int cmd_quantize(const struct config *c);
int cmd_imatrix(const struct config *c);
int cmd_perplexity(const struct config *c);
int cmd_version(const struct config *c);
int cmd_gpus(const struct config *c);
int cmd_tune(const struct config *c);

/* ---- shared by commands ---------------------------------------------------------------------- */

/* Prints "inferd: " and the last failure to stderr; returns EXIT_BAD. */
int cmd_failed(void);
/* All of standard input; ERR_TOO_LARGE above `limit`. */
enum status cmd_read_stdin(size_t limit, struct buf *out);
int cmd_print(const struct buf *b); /* to standard output; EXIT_GOOD, or EXIT_BAD when it failed */

#endif
