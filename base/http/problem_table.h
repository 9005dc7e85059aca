/* The rows behind problem.h, for problem.c and its test. Sorted by code. */
#ifndef TIDE_BASE_HTTP_PROBLEM_TABLE_H
#define TIDE_BASE_HTTP_PROBLEM_TABLE_H

#include <stddef.h>

#include "base/http/problem.h"

extern const struct problem_row problem_rows[];
extern const size_t problem_row_count;

#endif
