/*-------------------------------------------------------------------------
 *
 * window_limit.h
 *	  A limit on what passes within a time, as the rate-limit document has it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_WINDOW_LIMIT_H
#define APIKEYS_MODEL_WINDOW_LIMIT_H

#include "model/patterns.h"

/* What a window counts.  A cost is counted in billionths: model/cost.h. */
typedef enum WindowUnit
{
	WINDOW_REQUESTS,
	WINDOW_TOKENS,
	WINDOW_COST,
	WINDOW_NUNITS
} WindowUnit;

/* A limit on what passes within a time. */
typedef struct WindowLimit
{
	uint64		id;				/* of its name, unit and length: what is counted belongs to it */
	const char *name;			/* unique in the document */
	WindowUnit	unit;
	int64		length;			/* in microseconds, whole seconds */
	int64		max;			/* positive */
	Patterns   *models;			/* NULL: it counts all requests */
	Patterns   *endpoints;
} WindowLimit;

extern void window_limit_parse(const JsonbValue *element, WindowLimit *limit);
pg_noreturn extern void window_limit_raise(const char *detail);

#endif							/* APIKEYS_MODEL_WINDOW_LIMIT_H */
