/* status.h - how every fallible function reports: a code, and a message for whoever must act.
 *
 * The code knows no HTTP (api/errors.c maps it). The message and the optional field name lie in
 * thread-local storage and belong to the last failure on this thread; whoever hands an error to
 * another thread copies them first. */
#ifndef KERNELS_BASE_STATUS_H
#define KERNELS_BASE_STATUS_H

/* clang-format off */
#define STATUS_LIST(X)                                                                             \
    X(OK,                "ok")                                                                     \
    X(ERR_INVALID,       "invalid_value")       /* an argument or field is wrong                */ \
    X(ERR_JSON,          "invalid_json")        /* bytes that are not the JSON they should be   */ \
    X(ERR_FORMAT,        "bad_format")          /* a file that is not what it claims to be      */ \
    X(ERR_UNSUPPORTED,   "unsupported")         /* valid, but not built here                    */ \
    X(ERR_NOT_FOUND,     "not_found")                                                              \
    X(ERR_METHOD,        "method_not_allowed")                                                     \
    X(ERR_AUTH,          "invalid_api_key")                                                        \
    X(ERR_TOO_LARGE,     "too_large")           /* a body, a file or a text above its limit     */ \
    X(ERR_CONTEXT,       "context_length_exceeded")                                                \
    X(ERR_TEMPLATE,      "template_error")      /* the chat template raised or is broken        */ \
    X(ERR_QUEUE_FULL,    "queue_full")                                                             \
    X(ERR_LOADING,       "model_loading")                                                          \
    X(ERR_DRAINING,      "shutting_down")                                                          \
    X(ERR_CANCELLED,     "cancelled")                                                              \
    X(ERR_DEADLINE,      "deadline_exceeded")                                                      \
    X(ERR_NO_MEMORY,     "out_of_memory")       /* the plan does not fit; numbers in the message */ \
    X(ERR_IO,            "io_error")                                                               \
    X(ERR_DEVICE,        "device_error")                                                           \
    X(ERR_INTERNAL,      "internal_error")
/* clang-format on */

#define STATUS_ENUM(code, name) code,
enum status { STATUS_LIST(STATUS_ENUM) N_STATUS };
#undef STATUS_ENUM

/* Records the message (printf) for this thread and returns `s`: `return fail(ERR_X, "...")`. */
enum status fail(enum status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, and names the request field, tensor or option at fault. */
enum status fail_field(enum status s, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "text: " (printf) before the recorded message; for callers that know the file or tensor. */
enum status fail_in(enum status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *fail_text(void); /* this thread's last message, never NULL; valid until the next */
const char *fail_field_name(void); /* its field, or NULL */
const char *status_name(enum status s);

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum status try_status = (expr);                                                           \
        if (try_status != OK)                                                                      \
            return try_status;                                                                     \
    } while (0)

#endif
