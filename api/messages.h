/* messages.h - a chat request's messages and tools, checked and put into the form that the chat
 * templates of checkpoints expect (Transformers'). */
#ifndef API_MESSAGES_H
#define API_MESSAGES_H

#include "kernels/base/json.h"

struct messages {
    const struct json *messages, *tools, *kwargs; /* of the request; NULL: absent */
    bool use_tools;                               /* false: tool_choice is "none" */
    bool add_generation_prompt;
    bool go_on;                    /* the answer continues the last message */
    bool parts;                    /* see struct model_info */
    bool text_calls;               /* likewise */
    const struct json *documents;  /* for the template; NULL: none */
    struct bytes reasoning_effort; /* likewise */
};
/* An object with messages, tools, documents, reasoning_effort, add_generation_prompt and the
 * members of chat_template_kwargs. The request is checked on the way; errors name the field. Arena
 * memory. */
enum status messages_vars(const struct messages *req, struct arena *a, const struct json **out);
/* Where `go_on`: cuts off what the template wrote behind the last message's text. */
enum status messages_cut(const struct messages *req, struct buf *prompt);

#endif
