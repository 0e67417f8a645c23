/*-------------------------------------------------------------------------
 *
 * random.h
 *	  Random numbers that nobody can guess.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_RANDOM_H
#define APIKEYS_BASE_RANDOM_H

extern void random_fill(void *bytes, Size n);

#endif							/* APIKEYS_BASE_RANDOM_H */
