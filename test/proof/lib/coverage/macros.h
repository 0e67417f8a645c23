/*-------------------------------------------------------------------------
 *
 * macros.h
 *	  Macros of the server that branch, as functions: their branches are not ours.
 *
 * Included before all else in the build of make proof-coverage.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef COVERAGE_MACROS_H
#define COVERAGE_MACROS_H

#include "postgres.h"

static inline Size
coverage_size(const void *datum)
{
	return VARSIZE_ANY(datum);
}

static inline Size
coverage_length(const void *datum)
{
	return VARSIZE_ANY_EXHDR(datum);
}

static inline char *
coverage_data(const void *datum)
{
	return (char *) VARDATA_ANY(datum);
}

#undef VARSIZE_ANY
#undef VARSIZE_ANY_EXHDR
#undef VARDATA_ANY
#define VARSIZE_ANY(datum) coverage_size(datum)
#define VARSIZE_ANY_EXHDR(datum) coverage_length(datum)
#define VARDATA_ANY(datum) coverage_data(datum)

#endif
