/* The least that starting a container takes: one process in its own namespaces, on an overlay, with /proc, /sys and /dev,
 * after pivot_root. No image is looked up, no record is written, nothing is checked.
 *
 * usage: floor LOWERDIRS SCRATCH PROGRAM ARG...
 *   LOWERDIRS  as the kernel's overlay takes them, topmost first, with colons
 *   SCRATCH    a directory on a file system that holds an upper
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void or_die(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(125);
    }
}

static const char *devices[] = {"null", "zero", "full", "random", "urandom", "tty"};

static void container(char *lowers, char *scratch, char **argv)
{
    char options[65536], place[4096];
    /* Not in the parent: pivot_root moves everybody in the namespace whose root it is. */
    or_die(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP), "unshare");
    or_die(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    or_die(chdir(scratch), scratch);
    or_die(mkdir("upper", 0755), "upper");
    or_die(mkdir("work", 0755), "work");
    or_die(mkdir("merged", 0755), "merged");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=upper,workdir=work,volatile", lowers);
    or_die(mount("overlay", "merged", "overlay", MS_NODEV, options), "overlay");
    or_die(chdir("merged"), "merged");
    or_die(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
    or_die(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sys");
    or_die(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"), "dev");
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) {
        char host[64];
        snprintf(host, sizeof host, "/dev/%s", devices[i]);
        snprintf(place, sizeof place, "dev/%s", devices[i]);
        or_die(mknod(place, S_IFREG | 0666, 0), place);
        or_die(mount(host, place, NULL, MS_BIND, NULL), place);
    }
    or_die(mkdir("dev/pts", 0755), "dev/pts");
    or_die(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666"), "devpts");
    or_die(mkdir("dev/shm", 01777), "dev/shm");
    or_die(mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "shm");
    or_die(sethostname("floor", 5), "hostname");
    or_die((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    or_die(umount2(".", MNT_DETACH), "old root");
    or_die(chdir("/"), "/");
    execv(argv[0], argv);
    or_die(-1, argv[0]);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 125;
    or_die(unshare(CLONE_NEWPID), "unshare");
    pid_t child = fork();
    or_die(child, "fork");
    if (child == 0)
        container(argv[1], argv[2], argv + 3);
    int status;
    or_die(waitpid(child, &status, 0), "wait");
    /* What it wrote is removed, as --rm does: an upper that nothing was written to. */
    or_die(chdir(argv[2]), argv[2]);
    or_die(unlink("work/work/incompat/volatile/dirty"), "dirty");
    or_die(rmdir("work/work/incompat/volatile"), "volatile");
    or_die(rmdir("work/work/incompat"), "incompat");
    or_die(rmdir("work/work"), "work/work");
    or_die(rmdir("work"), "work");
    or_die(rmdir("upper"), "upper");
    or_die(rmdir("merged"), "merged");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
