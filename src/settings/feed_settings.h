/*-------------------------------------------------------------------------
 *
 * feed_settings.h
 *	  The settings of the feed, by which a standby tells of its use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SETTINGS_FEED_SETTINGS_H
#define APIKEYS_SETTINGS_FEED_SETTINGS_H

extern char *guc_primary_conninfo;
extern int	guc_feed_interval;

extern void feed_settings_init(void);

#endif							/* APIKEYS_SETTINGS_FEED_SETTINGS_H */
