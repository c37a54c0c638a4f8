#!/usr/bin/env perl
# A chat room, and the page to talk in. With --port it is a real server, until
# Ctrl-C:
#
#     chat_server.pl --port 8080
#
# Open http://localhost:8080/ in as many browsers as you like; "/nick NAME" sets
# your name. Without arguments it plays a short scene between two clients of its
# own and ends.
#
# The room is a topic with a history. Each line is sent as "EPOCH OFFSET LINE",
# and a page that comes back after its connection was lost says the two numbers
# of the last line that it has seen: it gets what was said meanwhile.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Getopt::Long;

use constant MAX_QUEUE => 1024 * 1024;    # bytes a slow reader may be behind
use constant HISTORY   => 1000;           # lines that are kept for who comes back
use constant MAX_AGE   => 3600;           # seconds for which they are

GetOptions('port=i' => \my $port) or die "usage: $0 [--port PORT]\n";

my $page = do { local $/; <DATA> };
my $ctx = EV::Websockets::Context->new;
my $guests = 0;

$ctx->topic('room', history => HISTORY, max_age => MAX_AGE, frame => sub {
    my ($line, $epoch, $offset) = @_;
    return "$epoch $offset $line";
});

sub announce {
    my ($line) = @_;
    print "$line\n" if defined $port;
    $ctx->publish('room', $line);
}

sub name_it {
    my ($c, $nick) = @_;
    $c->stash->{nick} = $nick;    # the stash is this connection's own hash
    $c->send("you are $nick");    # for this one alone, and so without the numbers
}

my $bound = $ctx->listen(
    host             => '127.0.0.1',    # leave this and hosts out for visitors from the network
    limits           => 'public',
    port             => $port || 0,
    name             => 'chat',
    max_message_size => 4096,
    # A reader who does not keep up must not fill our memory: he is closed with 1013,
    # and his page comes back for the rest.
    max_send_queue   => MAX_QUEUE,
    on_request       => sub {
        my ($request) = @_;
        return [ 404, [ 'Content-Type' => 'text/plain' ], ["There is only one page here.\n"] ]
            if $request->{path} ne '/';
        return [ 405, [ Allow => 'GET, HEAD' ], [] ] if $request->{method} !~ /\A(?:GET|HEAD)\z/;
        return [ 200, [ 'Content-Type' => 'text/html; charset=utf-8' ], [$page] ];
    },
    # The pages of other sites have no business here. What is no browser sends no Origin.
    origins          => ['same'],
    # Nor has who made another name lead here, to look like a page of ours.
    hosts            => [ 'localhost', '127.0.0.1' ],
    on_connect       => sub {
        my ($c, $headers) = @_;
        my $query = defined $headers->{Query} ? $headers->{Query} : '';
        my ($nick)  = $query =~ /(?:\A|&)nick=([A-Za-z0-9_]{1,20})(?:&|\z)/;
        my @since   = $query =~ /(?:\A|&)since=([0-9a-f]+)-([0-9]+)(?:&|\z)/;
        my $is_back = defined $nick;
        $nick = 'guest' . ++$guests if !$is_back;
        name_it($c, $nick);
        $c->subscribe('room', @since ? (since => \@since) : ())
            or $c->send('* some of what was said meanwhile is not kept any more');
        announce($is_back ? "* $nick is back" : "* $nick joined");
    },
    on_message => sub {
        my ($c, $text, $is_binary) = @_;
        return $c->close(1003, 'text only') if $is_binary;
        my $nick = $c->stash->{nick};
        if ($text =~ m{\A/nick\s+([A-Za-z0-9_]{1,20})\s*\z}) {
            name_it($c, my $new = $1);
            return announce("* $nick is now $new");
        }
        $text =~ s/[\x00-\x1F\x7F]+/ /g;            # what a client sends is not to be trusted
        announce("$nick: $text");
    },
    on_close => sub {
        my ($c) = @_;
        announce('* ' . $c->stash->{nick} . ' left');    # he himself has left the topic already
    },
);

if (defined $port) {
    $| = 1;
    print "chat server on http://localhost:$bound/ - Ctrl-C ends it\n";
    my $ctrl_c = EV::signal INT => sub {
        print "\nclosing ", $ctx->subscribers('room'), " connections\n";
        $ctx->shutdown(reason => 'server ends', cb => sub { EV::break });
    };
    EV::run;
    exit 0;
}

# The scene: what each client does when it sees a line.
my %cues = (
    ann => [
        [ qr/^\* guest1 joined/     => sub { $_[0]->send('/nick ann') } ],
        [ qr/^\* guest1 is now ann/ => sub { enter('bob') } ],
        [ qr/^\* guest2 is now bob/ => sub { $_[0]->send('hello, bob!') } ],
        [ qr/^bob: hello/           => sub { $_[0]->send('I have to go.') } ],
        [ qr/^ann: I have to go/    => sub { $_[0]->close } ],
    ],
    bob => [
        [ qr/^\* guest2 joined/     => sub { $_[0]->send('/nick bob') } ],
        [ qr/^ann: hello/           => sub { $_[0]->send('hello, ann.') } ],
        [ qr/^\* ann left/          => sub { $_[0]->close } ],
    ],
);

my $on_stage = 0;

sub enter {
    my ($name) = @_;
    $on_stage++;
    $ctx->connect(
        url        => "ws://127.0.0.1:$bound/",
        on_message => sub {
            my ($c, $message) = @_;
            my ($line) = $message =~ /\A[0-9a-f]{16} [0-9]+ (.*)/s or return;
            print "[$name sees] $line\n";
            for my $cue (@{ $cues{$name} }) {
                my ($pattern, $action) = @$cue;
                return $action->($c) if $line =~ $pattern;
            }
        },
        on_close => sub {
            print "[$name] gone\n";
            EV::break unless --$on_stage;
        },
        on_error => sub { my ($c, $text) = @_; print "[$name] failed: $text\n"; EV::break },
    );
}

print "a scene between two clients; run with --port PORT for a real server\n";
enter('ann');
EV::run;

__DATA__
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Chat</title>
<style>
    body { font: 16px/1.4 sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }
    #lines { height: 60vh; overflow-y: auto; border: 1px solid #999; padding: .5em; white-space: pre-wrap }
    form { display: flex; gap: .5em; margin-top: .5em }
    input { flex: 1 }
</style>
<div id="lines"></div>
<form>
    <input id="text" autocomplete="off" maxlength="1000" placeholder="What you say, or /nick NAME" autofocus disabled>
    <button disabled>Say</button>
</form>
<script>
    const lines = document.getElementById('lines');
    const text = document.getElementById('text');
    const form = document.querySelector('form');

    function show(line) {
        const row = document.createElement('div');
        row.textContent = line;             // text, whatever it looks like
        lines.append(row);
        row.scrollIntoView();
    }

    // What the server is told when we come back: who we are, and the last line that we have seen.
    let nick = '', since = '';

    function open(delay) {
        const query = new URLSearchParams();
        if (nick) query.set('nick', nick);
        if (since) query.set('since', since);
        const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/?${query}`);
        const enable = on => form.querySelectorAll('input, button').forEach(it => it.disabled = !on);
        socket.onopen = () => { delay = 500; enable(true); text.focus(); };
        socket.onmessage = event => {
            const [, epoch, offset, line] = event.data.match(/^([0-9a-f]{16}) (\d+) (.*)$/s) || [];
            if (epoch) {
                since = `${epoch}-${offset}`;
                return show(line);
            }
            const [, name] = event.data.match(/^you are (\w+)$/) || [];    // no numbers: for us alone
            if (name) nick = name;
            else show(event.data);
        };
        socket.onclose = () => {
            enable(false);
            show('(no connection; trying again)');
            setTimeout(open, delay, Math.min(2 * delay, 30000));
        };
        form.onsubmit = event => {
            event.preventDefault();
            if (text.value) socket.send(text.value);
            text.value = '';
        };
    }
    open(500);
</script>
