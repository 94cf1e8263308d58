// SPDX-License-Identifier: Apache-2.0
// The status socket. After the filter is on, these use only sendmsg, write and exit_group.
#pragma once

/// From now on reports go to this fd; before, to stderr.
void report_to(int status_fd);

/// Sends one packet of JSON text, with `fd` when it is not negative. False with errno when the launcher cannot have it.
bool send_packet(const char* text, int fd);

/// Reports {"step":...,"errno":...} and exits with 127, as a shell does when it cannot execute.
[[noreturn]] void fail(const char* step, int error);
