# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mica_global_optspecs
    string join \n root= run-root= h/help V/version
end

function __fish_mica_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mica_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mica_using_subcommand
    set -l cmd (__fish_mica_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mica -n "__fish_mica_needs_command" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_needs_command" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_needs_command" -s V -l version -d 'Print version'
complete -c mica -n "__fish_mica_needs_command" -f -a "try" -d 'Run a command on a copy-on-write view of this machine\'s files'
complete -c mica -n "__fish_mica_needs_command" -f -a "apply" -d 'Bring the changes that `try --keep NAME` left onto this machine'
complete -c mica -n "__fish_mica_needs_command" -f -a "run" -d 'Run a command in a new container'
complete -c mica -n "__fish_mica_needs_command" -f -a "create" -d 'Make a container without starting it, and print its ID'
complete -c mica -n "__fish_mica_needs_command" -f -a "start" -d 'Start a container that was created or has ended'
complete -c mica -n "__fish_mica_needs_command" -f -a "ps" -d 'List containers'
complete -c mica -n "__fish_mica_needs_command" -f -a "rm" -d 'Remove containers with their writable layers'
complete -c mica -n "__fish_mica_needs_command" -f -a "diff" -d 'List what a container, or a kept try, changed: A added, C changed, D deleted'
complete -c mica -n "__fish_mica_needs_command" -f -a "commit" -d 'Make an image of a container\'s changes, and print its ID'
complete -c mica -n "__fish_mica_needs_command" -f -a "export" -d 'Write a container\'s whole tree as a tar'
complete -c mica -n "__fish_mica_needs_command" -f -a "mount" -d 'Mount a container\'s tree and print where; without a container, list what is mounted'
complete -c mica -n "__fish_mica_needs_command" -f -a "umount" -d 'Unmount what `mica mount` mounted'
complete -c mica -n "__fish_mica_needs_command" -f -a "unshare" -d 'Run a command, or a shell, in a user namespace where you are root of your own files'
complete -c mica -n "__fish_mica_needs_command" -f -a "images" -d 'List images'
complete -c mica -n "__fish_mica_needs_command" -f -a "load" -d 'Bring in the images of an archive or of an OCI layout: `docker save`\'s, `podman save`\'s, `skopeo`\'s, `umoci`\'s, `ctr`\'s'
complete -c mica -n "__fish_mica_needs_command" -f -a "save" -d 'Write images into an archive or a directory for other tools'
complete -c mica -n "__fish_mica_needs_command" -f -a "import" -d 'Make an image of one layer from a tar or a directory, and print its ID'
complete -c mica -n "__fish_mica_needs_command" -f -a "tag" -d 'Give an image one more name'
complete -c mica -n "__fish_mica_needs_command" -f -a "rmi" -d 'Remove names, and images that have none left'
complete -c mica -n "__fish_mica_needs_command" -f -a "history" -d 'Show how an image was made, newest step first'
complete -c mica -n "__fish_mica_needs_command" -f -a "inspect" -d 'Show all that is known of images and containers, as JSON'
complete -c mica -n "__fish_mica_needs_command" -f -a "layers" -d 'List layers: DiffID, size, entries, and who uses each'
complete -c mica -n "__fish_mica_needs_command" -f -a "image" -d 'Commands on images, by Docker\'s longer names'
complete -c mica -n "__fish_mica_needs_command" -f -a "container" -d 'Commands on containers, by Docker\'s longer names'
complete -c mica -n "__fish_mica_needs_command" -f -a "system" -d 'The store itself: what it takes, whether it is whole, what may go'
complete -c mica -n "__fish_mica_needs_command" -f -a "completion" -d 'Print a completion script'
complete -c mica -n "__fish_mica_needs_command" -f -a "__reap" -d 'Delete what was removed'
complete -c mica -n "__fish_mica_needs_command" -f -a "__generate" -d 'Write man pages and completions into a directory'
complete -c mica -n "__fish_mica_using_subcommand try" -l keep -d 'Keep the changes under this name' -r
complete -c mica -n "__fish_mica_using_subcommand try" -l share -d 'Let the command change this file or directory for real. May be given several times' -r -F
complete -c mica -n "__fish_mica_using_subcommand try" -l network -d 'The network the command has' -r -f -a "none\t'Only loopback'
host\t'This machine\'s network, as it is'"
complete -c mica -n "__fish_mica_using_subcommand try" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand try" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand try" -s q -l quiet -d 'Do not list the changes, and do not say what stays real'
complete -c mica -n "__fish_mica_using_subcommand try" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand apply" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand apply" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand apply" -s y -l yes -d 'Do not ask'
complete -c mica -n "__fish_mica_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand run" -l name -d 'Give the container a name; without it, two words are chosen' -r
complete -c mica -n "__fish_mica_using_subcommand run" -s e -l env -d 'Set a variable; NAME alone passes this shell\'s value on' -r
complete -c mica -n "__fish_mica_using_subcommand run" -s w -l workdir -d 'Where the command starts' -r
complete -c mica -n "__fish_mica_using_subcommand run" -s u -l user -d 'As whom it runs: names or numbers' -r
complete -c mica -n "__fish_mica_using_subcommand run" -l hostname -d 'The container\'s host name' -r
complete -c mica -n "__fish_mica_using_subcommand run" -l entrypoint -d 'Run this before the command instead of the image\'s; empty for none' -r
complete -c mica -n "__fish_mica_using_subcommand run" -l network -d 'The network it has' -r -f -a "none\t'Only loopback'
host\t'This machine\'s network, as it is'"
complete -c mica -n "__fish_mica_using_subcommand run" -l driver -d 'How its tree is shown, now and later: by the kernel\'s overlayfs, by our union in user space, or as a copy. Without it, the first that works where the store is; `mica system info` tells' -r -f -a "overlay\t''
fuse\t''
flat\t''"
complete -c mica -n "__fish_mica_using_subcommand run" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand run" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand run" -s i -l interactive -d 'Keep standard input open. (It always is: kept for scripts written for docker.)'
complete -c mica -n "__fish_mica_using_subcommand run" -s t -l tty -d 'Give it a terminal'
complete -c mica -n "__fish_mica_using_subcommand run" -l read-only -d 'Mount the image\'s own tree read-only'
complete -c mica -n "__fish_mica_using_subcommand run" -l rm -d 'Remove it when it ends'
complete -c mica -n "__fish_mica_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand create" -l name -d 'Give the container a name; without it, two words are chosen' -r
complete -c mica -n "__fish_mica_using_subcommand create" -s e -l env -d 'Set a variable; NAME alone passes this shell\'s value on' -r
complete -c mica -n "__fish_mica_using_subcommand create" -s w -l workdir -d 'Where the command starts' -r
complete -c mica -n "__fish_mica_using_subcommand create" -s u -l user -d 'As whom it runs: names or numbers' -r
complete -c mica -n "__fish_mica_using_subcommand create" -l hostname -d 'The container\'s host name' -r
complete -c mica -n "__fish_mica_using_subcommand create" -l entrypoint -d 'Run this before the command instead of the image\'s; empty for none' -r
complete -c mica -n "__fish_mica_using_subcommand create" -l network -d 'The network it has' -r -f -a "none\t'Only loopback'
host\t'This machine\'s network, as it is'"
complete -c mica -n "__fish_mica_using_subcommand create" -l driver -d 'How its tree is shown, now and later: by the kernel\'s overlayfs, by our union in user space, or as a copy. Without it, the first that works where the store is; `mica system info` tells' -r -f -a "overlay\t''
fuse\t''
flat\t''"
complete -c mica -n "__fish_mica_using_subcommand create" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand create" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand create" -s i -l interactive -d 'Keep standard input open. (It always is: kept for scripts written for docker.)'
complete -c mica -n "__fish_mica_using_subcommand create" -s t -l tty -d 'Give it a terminal'
complete -c mica -n "__fish_mica_using_subcommand create" -l read-only -d 'Mount the image\'s own tree read-only'
complete -c mica -n "__fish_mica_using_subcommand create" -l rm -d 'Remove it when it ends'
complete -c mica -n "__fish_mica_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand start" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand start" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand start" -s a -l attach -d 'Stay with it: its output is this shell\'s, and so is its exit status'
complete -c mica -n "__fish_mica_using_subcommand start" -s i -l interactive -d 'Also pass standard input on'
complete -c mica -n "__fish_mica_using_subcommand start" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand ps" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand ps" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand ps" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand ps" -s a -l all -d 'Also those that do not run'
complete -c mica -n "__fish_mica_using_subcommand ps" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand ps" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand ps" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand rm" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand rm" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand rm" -s f -l force -d 'Also a running one: it is killed first'
complete -c mica -n "__fish_mica_using_subcommand rm" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand diff" -l format -d '`json` for an object a line, or a Go template over .Kind and .Path' -r
complete -c mica -n "__fish_mica_using_subcommand diff" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand diff" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand diff" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand commit" -s m -l message -d 'What the image is, for its history' -r
complete -c mica -n "__fish_mica_using_subcommand commit" -s a -l author -d 'Who made it' -r
complete -c mica -n "__fish_mica_using_subcommand commit" -s c -l change -d 'Change the image\'s config by a Dockerfile instruction. May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand commit" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand commit" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand commit" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand commit" -s q -l quiet -d 'Print nothing on standard error'
complete -c mica -n "__fish_mica_using_subcommand commit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand export" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c mica -n "__fish_mica_using_subcommand export" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand export" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand export" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand mount" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand mount" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand mount" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand umount" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand umount" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand umount" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand unshare" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand unshare" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand unshare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand images" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand images" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand images" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand images" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand images" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand images" -l digests -d 'Show manifest digests'
complete -c mica -n "__fish_mica_using_subcommand images" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand load" -s i -l input -d 'Read this archive, or this directory with an OCI layout, instead of standard input' -r -F
complete -c mica -n "__fish_mica_using_subcommand load" -l platform -d 'Of an image for several platforms, take the one for this; otherwise the one for this machine is taken' -r
complete -c mica -n "__fish_mica_using_subcommand load" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand load" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand load" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand load" -l all-platforms -d 'Of an image for several platforms, take all that are there, and what stands beside them'
complete -c mica -n "__fish_mica_using_subcommand load" -s q -l quiet -d 'Print the IDs only, and no progress'
complete -c mica -n "__fish_mica_using_subcommand load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand save" -s o -l output -d 'Write to this file, or directory, instead of standard output' -r -F
complete -c mica -n "__fish_mica_using_subcommand save" -l format -d 'The form' -r -f -a "docker-archive\t'What docker, podman and skopeo load: a config and plain layers; no manifest, and one platform for a name'
oci-archive\t'The OCI image layout in a tar: keeps manifests, indexes and digests'
oci-dir\t'The OCI image layout in a directory: a new one, or one that is added to'"
complete -c mica -n "__fish_mica_using_subcommand save" -l platform -d 'Of an image for several platforms, write only the one for this, without the index' -r
complete -c mica -n "__fish_mica_using_subcommand save" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand save" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand save" -s q -l quiet -d 'No progress'
complete -c mica -n "__fish_mica_using_subcommand save" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand import" -s c -l change -d 'Change the image\'s config by a Dockerfile instruction. May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand import" -s m -l message -d 'What the image is, for its history' -r
complete -c mica -n "__fish_mica_using_subcommand import" -l platform -d 'What the image is for; this machine\'s platform unless given' -r
complete -c mica -n "__fish_mica_using_subcommand import" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand import" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand import" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand import" -s q -l quiet -d 'No progress'
complete -c mica -n "__fish_mica_using_subcommand import" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand tag" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand tag" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand tag" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand rmi" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand rmi" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand rmi" -s f -l force -d 'By ID, also an image that has several names'
complete -c mica -n "__fish_mica_using_subcommand rmi" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand history" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand history" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand history" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand history" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand history" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand history" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand inspect" -s f -l format -d 'A Go template such as \'{{.Id}}\', or `json`' -r
complete -c mica -n "__fish_mica_using_subcommand inspect" -l type -d 'Look for this only' -r -f -a "image\t''
container\t''"
complete -c mica -n "__fish_mica_using_subcommand inspect" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand inspect" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand inspect" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand layers" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand layers" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand layers" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand layers" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand layers" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand layers" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "ls" -d 'List images'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "load" -d 'Bring in the images of an archive or of an OCI layout: `docker save`\'s, `podman save`\'s, `skopeo`\'s, `umoci`\'s, `ctr`\'s'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "save" -d 'Write images into an archive or a directory for other tools'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "import" -d 'Make an image of one layer from a tar or a directory, and print its ID'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "tag" -d 'Give an image one more name'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "rm" -d 'Remove names, and images that have none left'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "history" -d 'Show how an image was made, newest step first'
complete -c mica -n "__fish_mica_using_subcommand image; and not __fish_seen_subcommand_from ls load save import tag rm history inspect" -f -a "inspect" -d 'Show all that is known of images and containers, as JSON'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -l digests -d 'Show manifest digests'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -s i -l input -d 'Read this archive, or this directory with an OCI layout, instead of standard input' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -l platform -d 'Of an image for several platforms, take the one for this; otherwise the one for this machine is taken' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -l all-platforms -d 'Of an image for several platforms, take all that are there, and what stands beside them'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -s q -l quiet -d 'Print the IDs only, and no progress'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -s o -l output -d 'Write to this file, or directory, instead of standard output' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -l format -d 'The form' -r -f -a "docker-archive\t'What docker, podman and skopeo load: a config and plain layers; no manifest, and one platform for a name'
oci-archive\t'The OCI image layout in a tar: keeps manifests, indexes and digests'
oci-dir\t'The OCI image layout in a directory: a new one, or one that is added to'"
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -l platform -d 'Of an image for several platforms, write only the one for this, without the index' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -s q -l quiet -d 'No progress'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from save" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -s c -l change -d 'Change the image\'s config by a Dockerfile instruction. May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -s m -l message -d 'What the image is, for its history' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -l platform -d 'What the image is for; this machine\'s platform unless given' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -s q -l quiet -d 'No progress'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from tag" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from tag" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from tag" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from rm" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from rm" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from rm" -s f -l force -d 'By ID, also an image that has several names'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from inspect" -s f -l format -d 'A Go template such as \'{{.Id}}\', or `json`' -r
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from inspect" -l type -d 'Look for this only' -r -f -a "image\t''
container\t''"
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from inspect" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from inspect" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand image; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "run" -d 'Run a command in a new container'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "create" -d 'Make a container without starting it, and print its ID'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "start" -d 'Start a container that was created or has ended'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "ls" -d 'List containers'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "rm" -d 'Remove containers with their writable layers'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "diff" -d 'List what a container, or a kept try, changed: A added, C changed, D deleted'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "commit" -d 'Make an image of a container\'s changes, and print its ID'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "export" -d 'Write a container\'s whole tree as a tar'
complete -c mica -n "__fish_mica_using_subcommand container; and not __fish_seen_subcommand_from run create start ls rm diff commit export inspect" -f -a "inspect" -d 'Show all that is known of images and containers, as JSON'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l name -d 'Give the container a name; without it, two words are chosen' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s e -l env -d 'Set a variable; NAME alone passes this shell\'s value on' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s w -l workdir -d 'Where the command starts' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s u -l user -d 'As whom it runs: names or numbers' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l hostname -d 'The container\'s host name' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l entrypoint -d 'Run this before the command instead of the image\'s; empty for none' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l network -d 'The network it has' -r -f -a "none\t'Only loopback'
host\t'This machine\'s network, as it is'"
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l driver -d 'How its tree is shown, now and later: by the kernel\'s overlayfs, by our union in user space, or as a copy. Without it, the first that works where the store is; `mica system info` tells' -r -f -a "overlay\t''
fuse\t''
flat\t''"
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s i -l interactive -d 'Keep standard input open. (It always is: kept for scripts written for docker.)'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s t -l tty -d 'Give it a terminal'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l read-only -d 'Mount the image\'s own tree read-only'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -l rm -d 'Remove it when it ends'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l name -d 'Give the container a name; without it, two words are chosen' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s e -l env -d 'Set a variable; NAME alone passes this shell\'s value on' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s w -l workdir -d 'Where the command starts' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s u -l user -d 'As whom it runs: names or numbers' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l hostname -d 'The container\'s host name' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l entrypoint -d 'Run this before the command instead of the image\'s; empty for none' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l network -d 'The network it has' -r -f -a "none\t'Only loopback'
host\t'This machine\'s network, as it is'"
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l driver -d 'How its tree is shown, now and later: by the kernel\'s overlayfs, by our union in user space, or as a copy. Without it, the first that works where the store is; `mica system info` tells' -r -f -a "overlay\t''
fuse\t''
flat\t''"
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s i -l interactive -d 'Keep standard input open. (It always is: kept for scripts written for docker.)'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s t -l tty -d 'Give it a terminal'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l read-only -d 'Mount the image\'s own tree read-only'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -l rm -d 'Remove it when it ends'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from start" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from start" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from start" -s a -l attach -d 'Stay with it: its output is this shell\'s, and so is its exit status'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from start" -s i -l interactive -d 'Also pass standard input on'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -l format -d '`table`, `json` (an object a line), or a Go template such as \'{{.ID}}\'; `table TEMPLATE` adds headers' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -s a -l all -d 'Also those that do not run'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print IDs only'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -l no-trunc -d 'Do not shorten IDs and long texts'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from rm" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from rm" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from rm" -s f -l force -d 'Also a running one: it is killed first'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from diff" -l format -d '`json` for an object a line, or a Go template over .Kind and .Path' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from diff" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from diff" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -s m -l message -d 'What the image is, for its history' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -s a -l author -d 'Who made it' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -s c -l change -d 'Change the image\'s config by a Dockerfile instruction. May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -l limit -d 'Raise or lower a limit on what is taken in: bytes that a layer has written (`content`, 1T), its `entries` (4000000) and the `depth` (1000) of its paths; bytes of an entry\'s extended headers (`header`, 8M) and extended attributes (`xattrs`, 1M), of a layer\'s names and attributes (`metadata`, 1G), of the `window` of zstd (32M), and of a manifest, an index or a config (`json`, 4M). May be given several times' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -s q -l quiet -d 'Print nothing on standard error'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from commit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from export" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from export" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from export" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from inspect" -s f -l format -d 'A Go template such as \'{{.Id}}\', or `json`' -r
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from inspect" -l type -d 'Look for this only' -r -f -a "image\t''
container\t''"
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from inspect" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from inspect" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand container; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -f -a "df" -d 'Show what the store takes, adding up what each layer says of itself'
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -f -a "prune" -d 'Remove what nobody needs: ended containers, images without a name, layers and blobs that nothing uses'
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -f -a "check" -d 'Prove that the store is whole: every blob against its digest, every layer against its DiffID'
complete -c mica -n "__fish_mica_using_subcommand system; and not __fish_seen_subcommand_from df prune check info" -f -a "info" -d 'Show where the store is, how layers are shown here, and why not otherwise'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from df" -l format -d '`table`, `json`, or a Go template' -r
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from df" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from df" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from df" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -s a -l all -d 'Also images that have a name and no container'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -s f -l force -d 'Do not ask'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -s q -l quiet -d 'No progress, and not what was removed'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from prune" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from check" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from check" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from check" -l repair -d 'Mend what can be: what is broken is set aside, so that loading it again heals'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Only the findings'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from info" -l format -d '`json`, or a Go template' -r
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from info" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from info" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand system; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand completion" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand completion" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mica -n "__fish_mica_using_subcommand __reap" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand __reap" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand __reap" -s h -l help -d 'Print help'
complete -c mica -n "__fish_mica_using_subcommand __generate" -l root -d 'Where images, layers and containers are kept: /var/lib/mica for root, else $XDG_DATA_HOME/mica, which is ~/.local/share/mica where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand __generate" -l run-root -d 'Where what does not outlive a boot is kept: /run/mica for root, else $XDG_RUNTIME_DIR/mica, which is `run` in the store where that is not set' -r -F
complete -c mica -n "__fish_mica_using_subcommand __generate" -s h -l help -d 'Print help'
