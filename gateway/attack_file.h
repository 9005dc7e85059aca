/* The level of the attack ladder on disk, so that a gateway that starts while the database is away begins where the
 * ladder stood. Not when it moves (attack.h).
 *
 * One line, "tidegate attack A2", written beside and renamed over: a reader sees the old one or the new one.
 * Errors: ERR_IO, ERR_INVALID (it is something else); ERR_NOT_FOUND when there is no file.
 * Thread rule: one thread at a time. */
#ifndef TIDE_GATEWAY_ATTACK_FILE_H
#define TIDE_GATEWAY_ATTACK_FILE_H

#include "base/err.h"

int attack_file_save(int level, const char *path, struct err *err) TIDE_CHECK;
int attack_file_load(const char *path, int *level, struct err *err) TIDE_CHECK;

#endif
