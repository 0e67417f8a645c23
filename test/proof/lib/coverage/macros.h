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
#include "postgres.h"
