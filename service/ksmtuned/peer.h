/*
 * Who is at the other end of a connection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Under libvirt all QEMUs have one uid: what tells guests of one tenant from
 * those of another is the cgroup, or the label of the security module.
 */
#ifndef KSMTUNED_PEER_H
#define KSMTUNED_PEER_H

#include <sys/types.h>

typedef struct KsmtunedPeer {
    pid_t pid;                  /* of who connected; 0: not known */
    char *cgroup;               /* its path, as in cgroup(7); or NULL */
    char *label;                /* of AppArmor, SELinux, ...; or NULL */
} KsmtunedPeer;

/* By the kernel's word on socket @fd; files of the process in @proc_root. */
void ksmtuned_peer_read(KsmtunedPeer *peer, int fd, const char *proc_root);
void ksmtuned_peer_clear(KsmtunedPeer *peer);

#endif
