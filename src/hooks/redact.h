/*-------------------------------------------------------------------------
 *
 * redact.h
 *	  Raw keys stay out of the log and out of pg_stat_activity.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_REDACT_H
#define APIKEYS_HOOKS_REDACT_H

extern void redact_init(void);

#endif							/* APIKEYS_HOOKS_REDACT_H */
