/* file.h - files that a test writes, under build/. All end the running test when they cannot. */
#ifndef TESTS_SUPPORT_FILE_H
#define TESTS_SUPPORT_FILE_H

void file_text(const char *path, const char *text);
/* `in_place_of`: text in `from` that becomes `by` in `to`, once; NULL for a copy as it is. */
void file_copy(const char *from, const char *to, const char *in_place_of, const char *by);

#endif
