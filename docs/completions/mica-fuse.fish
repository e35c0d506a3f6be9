complete -c mica-fuse -s o -d 'Mount options, separated by commas; may be given several times' -r
complete -c mica-fuse -l __generate -d 'Write man pages and completions into a directory' -r -F
complete -c mica-fuse -s f -l foreground -d 'Stay in the foreground until the mount is gone'
complete -c mica-fuse -s d -l debug -d 'Stay in the foreground, and say on standard error what is agreed with the kernel'
complete -c mica-fuse -s s -d 'Serve with one thread'
complete -c mica-fuse -s V -l version -d 'Print the version'
complete -c mica-fuse -s h -l help -d 'Print help (see more with \'--help\')'
