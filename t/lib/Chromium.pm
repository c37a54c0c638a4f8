package Chromium;

# A browser without a window, for as long as the object lives.

use strict;
use warnings;
use Children;
use EV;
use File::Spec;
use File::Temp;
use POSIX ();
use RawServer;
use Run;
use Test::More;

# The command, if there is one.
sub find {
    my ($found) = grep { -x } map { my $name = $_; map { "$_/$name" } split /:/, $ENV{PATH} || '' }
        qw(chromium chromium-browser google-chrome);
    return $found;
}

# A web server that has this page of t/peers at /page.
sub serve {
    my ($file) = @_;
    open my $in, '<:raw', $file or die "$file: $!\n";
    my $page = do { local $/; <$in> };
    return RawServer->new(answer => sub {
        my ($peer, $head) = @_;
        my ($status, $body) = $head =~ m{\AGET /page\?} ? ('200 OK', $page) : ('404 Not Found', '');
        $peer->put("HTTP/1.1 $status\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: "
            . length($body) . "\r\n\r\n$body")->finish_writing;
    });
}

# Opens a page. home => a folder for what Chromium looks for in the home directory,
# its NSS database among it.
sub start {
    my ($class, $url, %o) = @_;
    my $self = bless { profile => File::Temp->newdir, owner => $$ }, $class;
    $self->{pid} = $self->_start($url, %o);
    return $self;
}

# Opens /page of that server, with these URLs in its query.
sub visit {
    my ($class, $http, $urls, %o) = @_;
    my $self = $class->start('http://127.0.0.1:' . $http->port . '/page?' . join('&', map { "url=$_" } @$urls), %o);
    # Starting takes it a while on a busy machine.
    my $there = 0;
    for my $try (1 .. 3) {
        $there ||= wait_until(sub { grep { defined $_->head } $http->peers });
    }
    ok $there, 'the browser loads the page' or $self->show_log;
    return $self;
}

# In a process group of its own: a browser is many processes.
sub _start {
    my ($self, $url, %o) = @_;
    my $pid = fork;
    defined $pid or die "fork: $!\n";
    if ($pid) {
        # Both set it: neither knows whether the other has yet.
        POSIX::setpgid($pid, $pid);
        Children::keep(-$pid);
        return $pid;
    }
    POSIX::setpgid(0, 0);
    open STDIN,  '<', File::Spec->devnull;
    open STDOUT, '>', "$self->{profile}/log";
    open STDERR, '>&', \*STDOUT;
    # It is to find no proxy and no display, whatever there is.
    delete @ENV{ grep { /_proxy\z/i } keys %ENV };
    $ENV{HOME} = $o{home} if $o{home};
    my $chromium = find();
    { no warnings 'exec'; exec { $chromium } $chromium, qw(--headless --no-sandbox --disable-gpu --disable-quic
        --no-first-run --disable-background-networking --disable-component-update --disable-sync
        --disable-dev-shm-usage --disable-extensions --remote-debugging-port=0), "--user-data-dir=$self->{profile}", $url }
    POSIX::_exit(127);
}

# What it has said so far.
sub said {
    my ($self) = @_;
    open my $log, '<', "$self->{profile}/log" or return '';
    local $/;
    my $text = <$log>;
    return defined $text ? $text : '';
}

sub show_log {
    my ($self) = @_;
    my @lines = split /^/, $self->said;
    diag @lines > 15 ? @lines[ -15 .. -1 ] : @lines;
    return;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    Children::end(-$pid, 'TERM', 10);
    return;
}

sub DESTROY {
    my ($self) = @_;
    # Children has ended it by then; what it used may be gone before it.
    $self->stop if $self->{owner} == $$ && !Children::is_global_destruction();
}

1;
