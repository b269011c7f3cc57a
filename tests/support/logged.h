/* logged.h - what the log says while a test listens. */
#ifndef TESTS_SUPPORT_LOGGED_H
#define TESTS_SUPPORT_LOGGED_H

#include "kernels/base/log.h"

void log_hear(enum log_level level); /* from now on, and of that level; forgets what was heard */
const char *log_heard(void);         /* all lines, without ends; not what is beyond 4 KiB */
int log_heard_lines(void);
void log_unhear(void); /* the log goes where it went; what was heard stays */

#endif
