# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kinesis_keeper_global_optspecs
    string join \n h/help V/version
end

function __fish_kinesis_keeper_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kinesis_keeper_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kinesis_keeper_using_subcommand
    set -l cmd (__fish_kinesis_keeper_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -s V -l version -d 'Print version'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "run" -d 'Archive a stream, in the foreground, until a signal ends it'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "check" -d 'Check the file, then try each service with the credentials found; print an IAM policy'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "status" -d 'Tell how the keeper stands: each shard\'s lag, batch, spool and last object'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "verify" -d 'Prove the archive: every object, every ledger entry, nothing missing, nothing more'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "read" -d 'Write archived records to standard output'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "replay" -d 'Put archived records back into a stream'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_needs_command" -f -a "put" -d 'Put lines of files or standard input into a stream'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand run" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand check" -l policy -d 'Print the least IAM policy that this configuration needs, and check nothing'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand check" -l json -d 'The findings as JSON (the policy is JSON anyway)'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand check" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand status" -l watch -d 'Look again, every two seconds or so often, until Ctrl-C' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand status" -l json -d 'Everything as JSON; with --watch a line each time'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand status" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l from -d 'From this time on: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l to -d 'Before this time: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l shard -d 'This shard alone, such as shardId-000000000000' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l dir -d 'A copy of the archive in this folder, in place of the bucket; keys are paths below it' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l at-once -d 'Objects that are read at the same time' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l against-stream -d 'Also read what the stream still holds of the range, and hold the archive against it'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l repair -d 'Put back what is missing or damaged, if it is proved to be the same: from earlier versions in the bucket, from the copies on this disk, from the stream'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -l json -d 'The report as JSON'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand verify" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l from -d 'From this time on: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l to -d 'Before this time: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l shard -d 'This shard alone, such as shardId-000000000000' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l partition-key -d 'Records with this partition key alone' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l dir -d 'A copy of the archive in this folder, in place of the bucket; keys are paths below it' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l at-once -d 'Objects (with --merge: of each shard one) that are read at the same time' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l all -d 'Also KPL aggregates of which a part lies outside its shard: their producer sent them again elsewhere'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l merge -d 'By arrival over all shards (children after their parents), and not shard by shard'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l payload -d 'The payloads alone, each followed by a line feed'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l null -d 'Payloads are followed by a NUL byte'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -l length-prefixed -d 'Payloads are preceded by their length, four bytes, the highest first'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand read" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to-stream -d 'The stream that gets the records, by its name or ARN' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l from -d 'From this time on: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to -d 'Before this time: RFC 3339, a date (UTC), or an age such as 2h' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l shard -d 'This shard alone, such as shardId-000000000000' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l rate -d 'The most records a second' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l state -d 'Where to remember what is done, in place of a file in the folder `replay` of the state directory' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l dead-letter -d 'Append records that can\'t be put to this file, which `put --envelope` takes' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l dir -d 'Read a copy of the archive in this folder, in place of the bucket; keys are paths below it' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l in-flight -d 'Requests under way at once' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l give-up-after -d 'How long a record is tried before it is given up' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to-region -d 'The region of the stream that gets the records; otherwise the configuration\'s' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to-endpoint-url -d 'Its Kinesis, if that is not AWS\'s' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to-profile -d 'A profile of the shared AWS configuration to put with' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l to-role-arn -d 'A role to take on to put with' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l dry-run -d 'Read everything, put nothing, and tell how much it is and how long it would take'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l force -d 'Also into the stream that the archive is of, or into one that drops partition keys (record distribution AUTO)'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l all -d 'Also KPL aggregates of which a part lies outside its shard: their producer sent them again elsewhere'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -l json -d 'The summary as JSON on standard output'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand replay" -s h -l help -d 'Print help'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l partition-key-field -d 'The partition key is a text field of the record, which is JSON; `user.id` is a field below a field' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l partition-key -d 'The partition key of every record' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l dead-letter -d 'Append records that can\'t be put to this file, which `put --envelope` takes again' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l resume -d 'Remember in this file what of the input is done, and go on there; another input is refused' -r -F
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l skip -d 'Pass over the first lines of the input' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l rate -d 'The most records a second, over all shards; of a wait at most a second is made up for' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l buffer-time -d 'How long a record may wait for others to share its request' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l in-flight -d 'Requests under way at once' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l give-up-after -d 'How long a record is tried before it is given up' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l create -d 'Make the stream with so many shards if there is none' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l region -d 'The region; otherwise as the environment or the profile says' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l endpoint-url -d 'Another Kinesis than AWS\'s' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l profile -d 'A profile of the shared AWS configuration' -r
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l null -d 'Records end with a NUL byte in place of a line feed'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l envelope -d 'Each line is a record in the archive\'s form, with its own key'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l ordered -d 'Keep the order of records with one partition key (one of a key is under way at a time)'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l aggregate -d 'Pack small records into KPL aggregates'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -l json -d 'The summary as JSON on standard output'
complete -c kinesis-keeper -n "__fish_kinesis_keeper_using_subcommand put" -s h -l help -d 'Print help'
