/* loader.h - loading a model as commands do it: with progress to see, and a signal to stop it. */
#ifndef SERVER_CMD_LOADER_H
#define SERVER_CMD_LOADER_H

#include "engine/engine.h"
#include "server/config.h"

/* An engine that is being loaded, and how far it has got. */
struct loader {
    struct engine *engine;
    struct random_model random; /* what the options point to */
    int fd;                     /* readable when the state or the stage changed */
    bool terminal;
    char stage[48]; /* shown last */
};
/* Starts loading what the options name. */
enum status loader_open(struct loader *l, const struct config *c);
/* The engine's options, as loader_open and `plan` use them; `random` is filled when asked for. */
void engine_options_of(const struct config *c, struct engine_options *o,
                       struct random_model *random);
/* Call when fd is readable, and ten times a second on a terminal: shows progress, returns the
 * state; for ENGINE_FAILED the reason is the last failure. */
enum engine_state loader_look(struct loader *l);
/* Looks until the model is READY. ERR_CANCELLED when a signal came on `signal_fd` (-1: none). */
enum status loader_wait(struct loader *l, int signal_fd);
void loader_close(struct loader *l);

#endif
